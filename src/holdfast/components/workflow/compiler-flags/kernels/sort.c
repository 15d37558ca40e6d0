/* Quicksort of n integers. Usage: sort N TIMES */
#include <stdio.h>
#include <stdlib.h>

static void sort(int *a, int low, int high)
{
    if (low >= high)
        return;
    int pivot = a[low + (high - low) / 2], i = low, j = high;
    while (i <= j) {
        while (a[i] < pivot)
            i++;
        while (a[j] > pivot)
            j--;
        if (i <= j) {
            int swap = a[i];
            a[i++] = a[j];
            a[j--] = swap;
        }
    }
    sort(a, low, j);
    sort(a, i, high);
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 100000, times = argc > 2 ? atoi(argv[2]) : 6;
    int *a = malloc(n * sizeof *a);
    unsigned long state = 1;
    long sum = 0;
    for (int time = 0; time < times; time++) {
        for (int i = 0; i < n; i++) {
            state = state * 6364136223846793005UL + 1442695040888963407UL;
            a[i] = (int)(state >> 40);
        }
        sort(a, 0, n - 1);
        for (int i = 0; i < n; i += 97)
            sum += (long)a[i] * (i % 7);
    }
    printf("checksum %ld\n", sum);
    return 0;
}
