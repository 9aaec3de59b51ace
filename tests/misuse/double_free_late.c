/* gomalloc: double free: ADDR */
#include "tests/misuse/crime.h"

#define COUNT 20000
static void *block[COUNT];

int main(void) {
    /* So many frees later that the slot has left the thread cache; its neighbours are alive. */
    for (int i = 0; i < COUNT; i++) block[i] = get(48);
    for (int i = 0; i < COUNT; i += 2) give(block[i]);
    free(crime(block[COUNT / 2]));
    return 0;
}
