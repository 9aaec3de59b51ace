/* Intrusive doubly linked list whose head is one pointer, zero when empty: tables of heads take half the
 * memory, and are touched only where they are used. No locking, as in list.h. */
#ifndef GM_BASE_CHAIN_H
#define GM_BASE_CHAIN_H

#include "libgomalloc/base/compiler.h"

struct gm_chain_node {
    struct gm_chain_node *next;
    struct gm_chain_node **at; /* what points to this node; NULL: it is in no chain */
};
struct gm_chain {
    struct gm_chain_node *first;
};

#define gm_chain_entry(node, type, field) ((type *)((char *)(node) - offsetof(type, field)))

GM_INLINE void gm_chain_push(struct gm_chain *c, struct gm_chain_node *n) {
    n->next = c->first;
    n->at = &c->first;
    if (n->next) n->next->at = &n->next;
    c->first = n;
}

/* Takes the node out of the chain it is in, if it is in one. */
GM_INLINE void gm_chain_remove(struct gm_chain_node *n) {
    if (!n->at) return;
    *n->at = n->next;
    if (n->next) n->next->at = n->at;
    n->at = NULL;
}

#endif
