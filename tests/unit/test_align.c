/* Aligned allocation: every alignment, sizes around every class, and blocks that behave like any other. */
#include "tests/unit/allocator.h"

#include "libgomalloc/base/bits.h"

static void try(size_t align, size_t n) {
    void *p = gm_alloc_aligned(align, n);
    if (!expect(p && gm_is_aligned((uintptr_t)p, align) && gm_usable_size(p) >= n)) {
        diag("%zu bytes aligned to %zu: %p", n, align, p);
        return;
    }
    check_fill(p, n, n);
    void *neighbour = gm_alloc_aligned(align, n);
    expect(gm_is_aligned((uintptr_t)neighbour, align));
    check_fill(neighbour, n, n + 1);
    expect(gm_owns(p) && check_filled(p, n, n));
    gm_free(p);
    gm_free(neighbour);
}

TEST(every_alignment_and_class) {
    for (size_t align = 1; align <= 65536; align *= 2)
        for (unsigned cls = 1; cls < GM_CLASSES; cls++)
            for (int d = -1; d <= 1; d++) try(align, (size_t)(gm_class_size[cls] + d));
    expect_all_home();
}

/* Whatever other classes have room at that moment. */
TEST(the_first_object_of_each_class) {
    for (unsigned cls = GM_CLASSES - 1; cls > GM_CLASS_8; cls--) {
        size_t size = gm_class_size[cls];
        for (size_t align = 16; align <= 8192 && size % align == 0; align *= 2) {
            void *p = gm_alloc_aligned(align, size);
            if (!expect(gm_is_aligned((uintptr_t)p, align))) diag("%zu bytes aligned to %zu: %p", size, align, p);
        }
        gm_alloc(size);
        gm_alloc(size); /* the lowest slots of the class are taken */
    }
    verify_all();
}

TEST(small_blocks_stay_small) {
    for (size_t align = 16; align <= 4096; align *= 2) {
        void *p = gm_alloc_aligned(align, 1);
        expect_at_most(gm_usable_size(p), align);
        gm_free(p);
    }
    void *p = gm_alloc_aligned(64, 200); /* the next class that is a multiple: 256 */
    expect_eq(gm_usable_size(p), 256);
    gm_free(p);
    p = gm_alloc_aligned(8192, 100); /* a page of its own is the most it may take */
    expect_at_most(gm_usable_size(p), 8192);
    gm_free(p);
}

/* What lies before an aligned block is made ready with it: the kernel refuses more at a time than there is memory. */
TEST(large_alignments) {
    size_t memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    for (size_t align = 8192; align <= (size_t)16 << 30 && align < memory / 8 * 7; align *= 2) {
        try(align, 1);
        try(align, 40000);
        try(align, 3 * MIB);
    }
    gm_heap_verify();
    expect_all_home();
}

TEST(several_at_once) {
    void *p[50];
    for (size_t i = 0; i < 50; i++) {
        p[i] = gm_alloc_aligned((size_t)1 << (i % 27), 5000 + i * 3000);
        if (!expect(p[i] && gm_is_aligned((uintptr_t)p[i], (size_t)1 << (i % 27)))) return;
        check_fill(p[i], 5000 + i * 3000, i);
    }
    for (size_t i = 0; i < 50; i++) {
        expect(check_filled(p[i], 5000 + i * 3000, i));
        p[i] = gm_realloc(p[i], 100 + i * 4000);
        expect(check_filled(p[i], gm_min(100 + i * 4000, 5000 + i * 3000), i));
    }
    for (size_t i = 0; i < 50; i++) gm_free(p[i]);
    expect_all_home();
}

TEST(what_cannot_be_is_refused) {
    for (unsigned shift = 43; shift < 64; shift++) {
        errno = 0;
        expect(gm_alloc_aligned((size_t)1 << shift, 100) == NULL && errno == ENOMEM);
    }
    expect(gm_alloc_aligned(64, SIZE_MAX - 10) == NULL && gm_alloc_aligned(4096, SIZE_MAX) == NULL);
    verify_all();
}

TEST_MAIN()
