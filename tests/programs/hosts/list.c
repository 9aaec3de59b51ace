/* A list on the heap for a debugger to walk. */
#include <stdio.h>
#include <stdlib.h>

struct node {
    struct node *next;
    int value;
    char name[20];
};

static struct node *push(struct node *next, int value) {
    struct node *n = malloc(sizeof *n);
    n->next = next;
    n->value = value;
    snprintf(n->name, sizeof n->name, "node %d", value);
    return n;
}

__attribute__((noinline)) static int total(struct node *list) {
    int sum = 0;
    for (struct node *n = list; n; n = n->next) sum += n->value;
    return sum;
}

int main(void) {
    struct node *list = NULL;
    for (int i = 0; i < 1000; i++) list = push(list, i);
    int sum = total(list);
    while (list) {
        struct node *next = list->next;
        free(list);
        list = next;
    }
    printf("%d\n", sum);
    return sum != 499500;
}
