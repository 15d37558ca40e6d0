/* The product of two n by n matrices. Usage: matmul N TIMES */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 192, times = argc > 2 ? atoi(argv[2]) : 4;
    float *a = malloc((size_t)n * n * sizeof *a), *b = malloc((size_t)n * n * sizeof *b);
    float *c = calloc((size_t)n * n, sizeof *c);
    for (int i = 0; i < n * n; i++) {
        a[i] = (float)(i % 17) / 17;
        b[i] = (float)(i % 23) / 23;
    }
    for (int time = 0; time < times; time++)
        for (int i = 0; i < n; i++)
            for (int k = 0; k < n; k++)
                for (int j = 0; j < n; j++)
                    c[i * n + j] += a[i * n + k] * b[k * n + j];
    double sum = 0;
    for (int i = 0; i < n * n; i++)
        sum += c[i];
    printf("checksum %.17g\n", sum);
    return 0;
}
