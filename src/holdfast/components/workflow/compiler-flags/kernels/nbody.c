/* n bodies under gravity. Usage: nbody N STEPS */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct body {
    double x[3], v[3], mass;
};

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 100, steps = argc > 2 ? atoi(argv[2]) : 60;
    struct body *all = calloc(n, sizeof *all);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < 3; k++)
            all[i].x[k] = (double)((i * 31 + k * 17) % 101) / 10;
        all[i].mass = 1.0 + i % 3;
    }
    for (int step = 0; step < steps; step++) {
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                double d[3], square = 0.1;
                for (int k = 0; k < 3; k++) {
                    d[k] = all[j].x[k] - all[i].x[k];
                    square += d[k] * d[k];
                }
                double pull = 1e-3 * all[j].mass / (square * sqrt(square));
                for (int k = 0; k < 3; k++)
                    all[i].v[k] += pull * d[k];
            }
        for (int i = 0; i < n; i++)
            for (int k = 0; k < 3; k++)
                all[i].x[k] += 1e-2 * all[i].v[k];
    }
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += all[i].x[0] + all[i].x[1] * all[i].x[2];
    printf("checksum %.17g\n", sum);
    return 0;
}
