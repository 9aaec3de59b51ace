/* A library with words to hide pointers in. */
static void *data = &data, *bss;
static __thread void *tls, *large_tls[100000];

void *roots_data(void);
void *roots_bss(void);
void *roots_tls(void);
void *roots_large_tls(void);

void *roots_data(void) { return &data; }
void *roots_bss(void) { return &bss; }
void *roots_tls(void) { return &tls; }
void *roots_large_tls(void) { return &large_tls[77777]; }
