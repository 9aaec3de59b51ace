/* Needs 64 bytes of static TLS, of which the loader keeps only a small reserve for dlopen: a
 * preloaded library that eats the reserve makes such plugins fail to load. */
static __thread char block[64] __attribute__((tls_model("initial-exec"))) = "static";

__attribute__((visibility("default"))) const char *tls_text(void);

const char *tls_text(void) {
    return block;
}
