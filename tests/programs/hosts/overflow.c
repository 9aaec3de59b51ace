/* Allocates soundly; with the argument "overflow" it then writes one byte past a block, with "use"
 * into a freed one, and with "leak" it drops one. For memory checkers to find. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    const char *crime = argc > 1 ? argv[1] : "";
    for (int i = 0; i < 1000; i++) {
        char *volatile p = malloc((size_t)i * 10 + 1);
        memset(p, 1, (size_t)i * 10 + 1);
        p = realloc(p, (size_t)i * 20 + 1);
        free(p);
    }
    char *volatile block = malloc(40);
    memset(block, 0, 40);
    if (strcmp(crime, "overflow") == 0) block[40] = 1;
    if (strcmp(crime, "leak") == 0) block = NULL;
    free(block);
    if (strcmp(crime, "use") == 0) block[3] = 1;
    puts("done");
    return 0;
}
