/* Linked with the library, for a set-user-ID copy: says whether the kernel calls it privileged, and
 * allocates. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

int main(void) {
    void *volatile p = malloc(1000);
    free(p);
    printf("secure %lu\n", getauxval(AT_SECURE));
    return p == NULL;
}
