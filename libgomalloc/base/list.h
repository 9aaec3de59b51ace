/* Intrusive doubly linked list with a head node of its own: an empty list points to itself.
 * No locking: the list belongs to whoever's lock guards its head. */
#ifndef GM_BASE_LIST_H
#define GM_BASE_LIST_H

#include "libgomalloc/base/compiler.h"

struct gm_list {
    struct gm_list *next, *prev;
};

#define gm_list_entry(node, type, field) ((type *)((char *)(node) - offsetof(type, field)))

GM_INLINE void gm_list_init(struct gm_list *head) { head->next = head->prev = head; }
GM_INLINE bool gm_list_empty(const struct gm_list *head) { return head->next == head; }

GM_INLINE void gm_list_push(struct gm_list *head, struct gm_list *node) {
    node->next = head->next;
    node->prev = head;
    head->next->prev = node;
    head->next = node;
}

/* Takes the node out of whatever list it is in and leaves it pointing to itself. */
GM_INLINE void gm_list_remove(struct gm_list *node) {
    node->next->prev = node->prev;
    node->prev->next = node->next;
    node->next = node->prev = node;
}

#endif
