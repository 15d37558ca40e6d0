/* A five-point stencil on an n by n grid. Usage: stencil N STEPS */
#include <stdio.h>
#include <stdlib.h>

static void sweep(int n, const double *restrict from, double *restrict to)
{
    for (int i = 1; i < n - 1; i++)
        for (int j = 1; j < n - 1; j++)
            to[i * n + j] = 0.5 * from[i * n + j]
                + 0.125 * (from[(i - 1) * n + j] + from[(i + 1) * n + j] + from[i * n + j - 1] + from[i * n + j + 1]);
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 256, steps = argc > 2 ? atoi(argv[2]) : 100;
    double *a = calloc((size_t)n * n, sizeof *a), *b = calloc((size_t)n * n, sizeof *b);
    for (int i = 0; i < n * n; i++)
        a[i] = b[i] = (double)(i * 7919L % 1009) / 1009;
    for (int step = 0; step < steps; step++) {
        sweep(n, a, b);
        double *swap = a;
        a = b;
        b = swap;
    }
    double sum = 0;
    for (int i = 0; i < n * n; i++)
        sum += a[i] * (i % 13);
    printf("checksum %.17g\n", sum);
    return 0;
}
