// Tells the thread sanitizer of a Mutex that is contended. The kernel then hands it over (FUTEX_LOCK_PI) inside
// libswiftSynchronization, which is not instrumented, so that what the lock protects looks like a race. `make sanitize` links
// this into the tests: the two entries to that code, by their names, around the library's own.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

#define SWIFT __attribute__((swiftcall))
#define SELF __attribute__((swift_context)) void *self

void __tsan_acquire(void *address);
void __tsan_release(void *address);

static void *next(const char *name, void **kept) {
    void *entry = __atomic_load_n(kept, __ATOMIC_RELAXED);
    if (entry == NULL) {
        entry = dlsym(RTLD_NEXT, name);
        if (entry == NULL) abort();
        __atomic_store_n(kept, entry, __ATOMIC_RELAXED);
    }
    return entry;
}

#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

SWIFT void lock(uint32_t thread, SELF) __asm__(LOCK);
SWIFT void lock(uint32_t thread, SELF) {
    static void *kept;
    ((SWIFT void (*)(uint32_t, SELF))next(LOCK, &kept))(thread, self);
    __tsan_acquire(self);
}

SWIFT void unlock(SELF) __asm__(UNLOCK);
SWIFT void unlock(SELF) {
    static void *kept;
    __tsan_release(self);
    ((SWIFT void (*)(SELF))next(UNLOCK, &kept))(self);
}
