/* Answers to a hold of the world, under every interleaving: of one that is given up, and of the next that uses its slots. What
 * holds do to threads is in test_world.c. */
#include "tests/unit/interleave.h"

#include <linux/futex.h>

#include "libgomalloc/os/os.h"
#include "libgomalloc/os/rawcall.h"
#define gm_rawcall(...) interleave_wait()
#define gm_os_futex_wait(...) (void)interleave_wait()
#define gm_os_futex_wake(...) ((void)0)
#define gm_os_nanotime() UINT64_C(0)
#include "gc/world.c"

enum { ONE = 4711, OTHER = 4712 };
static struct slot the_slots[2];
static struct slot_index the_index[INDEX];
static siginfo_t signal_info;
static ucontext_t interrupted;
static bool begun, asked_anew;

static void asked(void) {
    slots = the_slots;
    slot_index = the_index;
    memset(the_slots, 0, sizeof the_slots);
    memset(the_index, 0, sizeof the_index);
    used = 1;
    generation = 7;
    pending = 1;
    released = 6;
    the_slots[0].state = state_of(7, ASKED);
    the_slots[0].thread.tid = ONE;
    signal_info.si_code = SI_QUEUE;
    signal_info.si_errno = 7;
    signal_info.si_value.sival_ptr = the_slots;
    begun = asked_anew = false;
}

/* The signal comes, early or late. */
static void answers(void) { stop_here(0, &signal_info, &interrupted); }

/* The holder has lost its patience; next time it asks another thread, by the same slot. */
static void gives_up_and_asks_another(void) {
    bool made;
    let_go();
    if (!(begun = begin(0))) return;
    struct slot *s = slot_of(OTHER, &made);
    gm_add_relaxed(&pending, 1);
    set_phase(s, ASKED);
    asked_anew = s == the_slots;
}

static bool has_not_answered(void) {
    return expect(begun && asked_anew) && expect_eq(the_slots[0].state, state_of(8, ASKED)) && expect_eq(pending, 1) &&
           expect_eq(the_slots[0].thread.tid, OTHER);
}
TEST(a_late_answer_is_none_to_the_next_hold) { interleave(asked, answers, gives_up_and_asks_another, has_not_answered); }

/* All in time: the holder goes on when the answer is there, and sees it whole. */
static void holds(void) {
    while (gm_load_acquire(&pending) != 0) gm_os_futex_wait(&pending, 1, -1);
    asked_anew = the_slots[0].thread.regs == &interrupted && the_slots[0].state == state_of(7, STANDS);
    let_go();
}
static bool has_answered(void) { return expect(asked_anew) && expect_eq(pending, 0); }
TEST(an_answer_is_seen_whole) { interleave(asked, answers, holds, has_answered); }

TEST_MAIN()
