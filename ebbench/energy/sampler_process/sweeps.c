/* Reads numbers out of the kernel's files at given instants, many sweeps in one call: what the sampler does between two
 * batches, without Python. It is compiled when the package is installed (hatch_build.py) and called by sweeps.py, and goes on only as
 * long as all is well: whatever is not (a file that cannot be read, a word to stop, a signal) ends the call, for Python to see to. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL
#define LONGEST 64 /* bytes; as kernel/sysfs.py */

enum { DONE, WOKEN, UNREADABLE };

struct file {
    int32_t descriptor;
    int32_t every;      /* read in each so-many-th sweep */
    int32_t next_in;    /* sweeps until it is read next */
    int32_t is_followed; /* another file may be put in its place */
};

struct slot {
    int64_t instant_ns; /* when to read */
    int64_t end_ns;     /* when it is too late to */
};

/* One sweep; `numbers` and `offsets_ns` have a place for each file. */
struct row {
    int64_t time_ns, read_ns, slot;
};

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* Waits until `instant_ns`; 0 where `heard` has something to say before, a signal came, or `parent` no longer is the parent. */
static int slept_until(int64_t instant_ns, int heard, pid_t parent) {
    struct pollfd ear = {heard, POLLIN, 0};
    int64_t left_ns = instant_ns - monotonic_ns();
    struct timespec left = {left_ns > 0 ? left_ns / NS_PER_S : 0, left_ns > 0 ? left_ns % NS_PER_S : 0};
    return ppoll(&ear, 1, &left, NULL) == 0 && getppid() == parent;
}

/* The whole number at the start of a file, a unit behind a space allowed; 0 where there is none, or another file took its place. */
static int read_number(const struct file *file, double *number) {
    char text[LONGEST + 1], *end;
    struct stat found;
    if (file->is_followed && (fstat(file->descriptor, &found) != 0 || found.st_nlink == 0)) return 0;
    ssize_t length = pread(file->descriptor, text, LONGEST, 0);
    if (length <= 0) return 0;
    text[length] = 0;
    *number = (double)strtoll(text, &end, 10);
    return end != text && (*end == 0 || *end == '\n' || *end == ' ');
}

/* Reads the files that are due in `sweep`; the numbers of the others are left as they are. */
static int read_files(const struct file *files, int32_t count, int64_t sweep, int64_t start_ns, double *numbers, int64_t *offsets_ns) {
    for (int32_t i = 0; i < count; i++) {
        int is_due = sweep >= files[i].next_in && (sweep - files[i].next_in) % files[i].every == 0;
        offsets_ns[i] = i ? offsets_ns[i - 1] : 0;
        if (!is_due) continue;
        if (!read_number(&files[i], &numbers[i])) return 0;
        offsets_ns[i] = monotonic_ns() - start_ns;
    }
    return 1;
}

/* Reads in every slot that is not over, and says how many sweeps were made and why it ended (DONE, WOKEN, UNREADABLE).
 * The number in its name rises with every change of what it is given: a library of before is then none. */
int32_t ebbench_sweeps_1(const struct file *files, int32_t file_count, const struct slot *slots, int32_t slot_count, int32_t heard,
                         int32_t parent, struct row *rows, double *numbers, int64_t *offsets_ns, int32_t *why) {
    int32_t made = 0;
    for (int32_t at = 0; at < slot_count; at++) {
        if (monotonic_ns() >= slots[at].end_ns) continue;
        *why = WOKEN;
        if (!slept_until(slots[at].instant_ns, heard, parent)) return made;
        *why = UNREADABLE;
        int64_t start_ns = monotonic_ns(), place = (int64_t)made * file_count;
        if (!read_files(files, file_count, made, start_ns, &numbers[place], &offsets_ns[place])) return made;
        rows[made++] = (struct row){start_ns, monotonic_ns() - start_ns, at};
    }
    *why = DONE;
    return made;
}
