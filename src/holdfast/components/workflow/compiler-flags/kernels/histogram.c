/* Counts of bytes, and their running sums. Usage: histogram N TIMES */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 1000000, times = argc > 2 ? atoi(argv[2]) : 20;
    unsigned char *data = malloc(n);
    unsigned counts[256] = {0};
    for (int i = 0; i < n; i++)
        data[i] = (unsigned char)((i * 2654435761UL) >> 13);
    unsigned long sum = 0;
    for (int time = 0; time < times; time++) {
        for (int i = 0; i < n; i++)
            counts[data[i]]++;
        unsigned run = 0;
        for (int k = 0; k < 256; k++) {
            run += counts[k];
            sum += (unsigned long)run * k;
        }
    }
    printf("checksum %lu\n", sum);
    return 0;
}
