/* Dot products, whose sums a compiler may only reorder if it is allowed to. Usage: dot N TIMES */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 100000, times = argc > 2 ? atoi(argv[2]) : 200;
    double *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b), total = 0;
    for (int i = 0; i < n; i++) {
        a[i] = 1.0 / (i + 1);
        b[i] = (double)(i % 101) / 101;
    }
    for (int time = 0; time < times; time++) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += a[i] * b[i];
        total += sum;
        a[time % n] += 1e-3;
    }
    printf("checksum %.17g\n", total);
    return 0;
}
