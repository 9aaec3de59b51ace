/* Tour of Go, "Buffered Channels": two values fit in before anybody receives. */
#include <gosched.h>
#include <stdio.h>

int main(void) {
    gochan *ch = gochan_make(sizeof(int), 2);
    for (int v = 1; v <= 2; v++) gochan_send(ch, &v);
    printf("len %zu, cap %zu\n", gochan_len(ch), gochan_cap(ch));
    int three = 3, v;
    if (!gochan_try_send(ch, &three)) printf("full\n");
    while (gochan_try_recv(ch, &v) == 1) printf("%d\n", v);
    gochan_free(ch);
    return 0;
}
