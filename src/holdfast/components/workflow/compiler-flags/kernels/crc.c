/* CRC-32 of n bytes, bit by bit. Usage: crc N TIMES */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t crc(const unsigned char *data, int n)
{
    uint32_t value = ~0u;
    for (int i = 0; i < n; i++) {
        value ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            value = (value >> 1) ^ (0xEDB88320u & -(value & 1));
    }
    return ~value;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 200000, times = argc > 2 ? atoi(argv[2]) : 10;
    unsigned char *data = malloc(n);
    for (int i = 0; i < n; i++)
        data[i] = (unsigned char)(i * 131 >> 3);
    uint32_t sum = 0;
    for (int time = 0; time < times; time++) {
        data[time % n] ^= 1;
        sum = sum * 31 + crc(data, n);
    }
    printf("checksum %u\n", sum);
    return 0;
}
