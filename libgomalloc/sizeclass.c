/* The generated tables, in one object. */
#define GM_SIZECLASS_TABLES
#include "libgomalloc/sizeclass.h"
