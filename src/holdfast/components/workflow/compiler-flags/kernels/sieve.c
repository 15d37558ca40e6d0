/* Primes below n by a sieve. Usage: sieve N TIMES */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 400000, times = argc > 2 ? atoi(argv[2]) : 8;
    char *composite = malloc(n);
    long sum = 0;
    for (int time = 0; time < times; time++) {
        memset(composite, 0, n);
        for (long i = 2; i < n; i++)
            if (!composite[i]) {
                sum += i;
                for (long j = i * i; j < n; j += i)
                    composite[j] = 1;
            }
    }
    printf("checksum %ld\n", sum);
    return 0;
}
