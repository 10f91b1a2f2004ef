// A client that does everything wrong, from three threads that share their descriptors: it is refused, and lives.
// Arguments: seconds to go on for, and the seed to begin with.
#include "../Clients/client.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

enum { MEMORY = 1 << 20, POOL = 6, AREAS = 8, CANARY = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
// Descriptors that are the client's own. Their numbers are used after they are closed, too; none is closed twice.
enum kind { SYSTEM, MACHINE, CPU, OTHER, KINDS };
static int pool[KINDS][POOL], stale[POOL];
static struct { uint8_t *address; size_t length; } areas[AREAS];
static uint8_t *memory;
static atomic_ulong calls, successes, runs;

struct draw { uint64_t state; };

static uint64_t next(struct draw *d) {
    uint64_t z = d->state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

static unsigned below(struct draw *d, unsigned bound) { return next(d) % bound; }

// Numbers that are no address of this process.
static uint64_t value(struct draw *d) {
    switch (below(d, 6)) {
    case 0: return 1ull << below(d, 12);
    case 1: return ~0ull << below(d, 12);
    case 2: return 0xFEE00000u + below(d, 0x1000);
    default: return below(d, 64);
    }
}

static void keep(struct draw *d, enum kind kind, int descriptor) {
    if (descriptor < 0) return;
    pthread_mutex_lock(&lock);
    int place = below(d, POOL), former = pool[kind][place];
    pool[kind][place] = descriptor;
    if (former >= 0) stale[place] = former;
    pthread_mutex_unlock(&lock);
    if (former >= 0) close(former);
}

// Mostly of the kind that was meant.
static int pick(struct draw *d, enum kind kind) {
    if (below(d, 20) == 0) return below(d, 2) ? stale[below(d, POOL)] : (int)(value(d) + 4000);
    if (below(d, 10) == 0) kind = below(d, KINDS);
    int from = below(d, POOL);
    for (int tries = 0; tries < POOL; tries++) {
        int descriptor = pool[kind][(from + tries) % POOL];
        if (descriptor >= 0) return descriptor;
    }
    return -1;
}

// A copy of one that is the client's, for the caller to close: its number is nobody else's meanwhile.
static int own(struct draw *d, enum kind kind) {
    pthread_mutex_lock(&lock);
    int owned = pool[kind][below(d, POOL)], copy = owned < 0 ? -1 : dup(owned);
    pthread_mutex_unlock(&lock);
    return copy;
}

static int call(int descriptor, unsigned long request, void *argument) {
    int result = ioctl(descriptor, request, argument);
    calls++;
    if (result >= 0) successes++;
    return result;
}

static const struct { enum kind kind; unsigned long number; } requests[] = {
    {SYSTEM, KVM_GET_API_VERSION}, {SYSTEM, KVM_CHECK_EXTENSION}, {SYSTEM, KVM_GET_VCPU_MMAP_SIZE},
    {SYSTEM, KVM_GET_SUPPORTED_CPUID}, {SYSTEM, KVM_GET_MSR_INDEX_LIST}, {SYSTEM, KVM_GET_MSRS},
    {MACHINE, KVM_CREATE_IRQCHIP}, {MACHINE, KVM_SET_TSS_ADDR}, {MACHINE, KVM_SET_IDENTITY_MAP_ADDR},
    {MACHINE, KVM_IRQ_LINE}, {MACHINE, KVM_GET_IRQCHIP}, {MACHINE, KVM_SET_IRQCHIP}, {MACHINE, KVM_CREATE_PIT2},
    {MACHINE, KVM_GET_PIT2}, {MACHINE, KVM_SET_PIT2}, {MACHINE, KVM_IRQFD}, {MACHINE, KVM_IRQFD},
    {MACHINE, KVM_IOEVENTFD}, {MACHINE, KVM_IOEVENTFD}, {MACHINE, KVM_SET_GSI_ROUTING}, {MACHINE, KVM_SIGNAL_MSI},
    {MACHINE, KVM_GET_CLOCK}, {MACHINE, KVM_SET_CLOCK}, {MACHINE, KVM_ENABLE_CAP}, {MACHINE, KVM_CREATE_DEVICE},
    {MACHINE, KVM_REGISTER_COALESCED_MMIO}, {MACHINE, KVM_RESET_DIRTY_RINGS}, {MACHINE, KVM_X86_SET_MSR_FILTER},
    {MACHINE, KVM_SET_BOOT_CPU_ID}, {CPU, KVM_GET_REGS}, {CPU, KVM_SET_REGS}, {CPU, KVM_GET_SREGS},
    {CPU, KVM_SET_SREGS}, {CPU, KVM_GET_FPU}, {CPU, KVM_SET_FPU}, {CPU, KVM_GET_XSAVE}, {CPU, KVM_SET_XSAVE},
    {CPU, KVM_GET_XCRS}, {CPU, KVM_SET_XCRS}, {CPU, KVM_GET_LAPIC}, {CPU, KVM_SET_LAPIC}, {CPU, KVM_GET_MP_STATE},
    {CPU, KVM_SET_MP_STATE}, {CPU, KVM_GET_VCPU_EVENTS}, {CPU, KVM_SET_VCPU_EVENTS}, {CPU, KVM_GET_DEBUGREGS},
    {CPU, KVM_SET_DEBUGREGS}, {CPU, KVM_INTERRUPT}, {CPU, KVM_NMI}, {CPU, KVM_TRANSLATE}, {CPU, KVM_SET_GUEST_DEBUG},
    {CPU, KVM_SET_CPUID2}, {CPU, KVM_GET_CPUID2}, {CPU, KVM_GET_MSRS}, {CPU, KVM_SET_MSRS}, {CPU, KVM_GET_TSC_KHZ},
    {CPU, KVM_KVMCLOCK_CTRL}, {CPU, KVM_ENABLE_CAP},
};

static void structure(struct draw *d, int descriptor, unsigned long request) {
    uint8_t buffer[16384 + CANARY];
    memset(buffer, 0, 16384);
    memset(buffer + 16384, 0xC5, CANARY);
    for (unsigned words = below(d, 12); words > 0; words--) {
        uint64_t word = value(d);
        memcpy(buffer + below(d, below(d, 4) ? 32 : 256) * 4, &word, 8);
    }
    // Counts of what follows, of what there is room for.
    uint32_t count = below(d, 60);
    if (request == KVM_GET_MSRS || request == KVM_SET_MSRS || request == KVM_SET_CPUID2 || request == KVM_GET_CPUID2
        || request == KVM_GET_SUPPORTED_CPUID || request == KVM_GET_MSR_INDEX_LIST || request == KVM_SET_GSI_ROUTING)
        memcpy(buffer, &count, 4);
    if (request == KVM_IRQFD || request == KVM_IOEVENTFD) {
        int event = pick(d, OTHER);
        memcpy(buffer + (request == KVM_IRQFD ? 0 : 20), &event, 4);
    }
    void *argument = below(d, 20) ? buffer : (void *)(uintptr_t)value(d);
    call(descriptor, request, argument);
    for (int i = 0; i < CANARY; i++) CHECK(buffer[16384 + i] == 0xC5);
}

static void region(struct draw *d, int machine) {
    struct kvm_userspace_memory_region region = {
        .slot = below(d, 3), .flags = below(d, 3) % 2, .guest_phys_addr = below(d, 8) << 17,
        .memory_size = below(d, 9) << 17, .userspace_addr = (uintptr_t)memory};
    if (region.memory_size > MEMORY) region.memory_size = MEMORY;
    call(machine, KVM_SET_USER_MEMORY_REGION, &region);
    uint8_t map[32];
    struct kvm_dirty_log log = {.slot = below(d, 3), .dirty_bitmap = map};
    call(machine, KVM_GET_DIRTY_LOG, &log);
}

static void map(struct draw *d) {
    size_t length = (1 + below(d, 4)) * 4096;
    off_t page = below(d, 4) ? 0 : below(d, 5);
    int isOwn = below(d, 5), descriptor = isOwn ? own(d, CPU) : pick(d, CPU);
    uint8_t *address = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, page * 4096);
    if (isOwn && descriptor >= 0) close(descriptor);
    if (address == MAP_FAILED) return;
    // What is no page of a run area is SIGBUS for whoever looks, here as on a kernel.
    if (!isOwn || page > 2) {
        munmap(address, length);
        return;
    }
    pthread_mutex_lock(&lock);
    int place = below(d, AREAS);
    uint8_t *former = areas[place].address;
    size_t size = areas[place].length;
    areas[place].address = address;
    areas[place].length = length;
    pthread_mutex_unlock(&lock);
    if (former == NULL) return;
    // By halves, or at once.
    if (size > 4096 && below(d, 2)) {
        munmap(former, 4096);
        munmap(former + 4096, size - 4096);
    } else {
        munmap(former, size);
    }
}

// Into run areas, whatever they are doing.
static void scribble(struct draw *d) {
    pthread_mutex_lock(&lock);
    int place = below(d, AREAS);
    if (areas[place].address != NULL) {
        uint64_t word = value(d);
        struct kvm_run *run = (void *)areas[place].address;
        if (below(d, 3) == 0) run->immediate_exit = 1;
        else memcpy(areas[place].address + below(d, 480) * 8, &word, 8);
    }
    pthread_mutex_unlock(&lock);
}

static void handle(int number) { (void)number; }

static void execute(struct draw *d, int cpu) {
    static const uint8_t programs[][12] = {
        {0xEB, 0xFE}, {0xE6, 0x10, 0xEB, 0xFC}, {0xFB, 0xF4, 0xEB, 0xFC}, {0xFE, 0x07, 0x43, 0xEB, 0xFB}, {0x0F, 0x0B},
        {0xB8, 0x00, 0xB8, 0x8E, 0xD8, 0xA3, 0x00, 0x00, 0xEB, 0xFB}};
    struct kvm_sregs sregs;
    if (below(d, 2) && call(cpu, KVM_GET_SREGS, &sregs) == 0) {
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        call(cpu, KVM_SET_SREGS, &sregs);
        uint64_t at = (1 + below(d, 15)) << 12;
        struct kvm_regs regs = {.rip = at, .rsp = 0x8000, .rflags = 2};
        call(cpu, KVM_SET_REGS, &regs);
        memcpy(memory + at, programs[below(d, 6)], 12);
    }
    runs++;
    call(cpu, KVM_RUN, below(d, 20) ? NULL : (void *)1);
}

static void pass(struct draw *d) {
    enum kind kind = below(d, KINDS);
    int ends[2], descriptor = pick(d, kind);
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) != 0) return;
    char byte = 0, room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    if (sendmsg(ends[0], &message, MSG_DONTWAIT) == 1) {
        if (below(d, 2)) keep(d, kind, dup(descriptor));
        if (recvmsg(ends[1], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == 1 && (header = CMSG_FIRSTHDR(&message))) {
            memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
            keep(d, kind, descriptor);
        }
    }
    close(ends[0]);
    close(ends[1]);
}

static void look(struct draw *d) {
    int descriptor = own(d, below(d, KINDS));
    struct pollfd polled = {.fd = descriptor, .events = POLLIN | POLLOUT};
    struct stat status;
    char bytes[8];
    int ready = poll(&polled, 1, 0);
    fstat(descriptor, &status);
    lseek(descriptor, 0, SEEK_END);
    // Whatever it is, nothing that would wait: a number that was used again may have been a socket's.
    if (ready > 0 && polled.revents & POLLIN && read(descriptor, bytes, sizeof bytes) < 0) errno = 0;
    if (ready > 0 && polled.revents & POLLOUT && write(descriptor, bytes, below(d, 8)) < 0) errno = 0;
    if (descriptor >= 0) close(descriptor);
}

static void step(struct draw *d) {
    enum kind kind = below(d, KINDS);
    switch (below(d, 20)) {
    case 0: keep(d, SYSTEM, open("/dev/kvm", O_RDWR | O_CLOEXEC)); break;
    case 1: keep(d, MACHINE, call(pick(d, SYSTEM), KVM_CREATE_VM, NULL)); break;
    case 2: case 3: keep(d, CPU, call(pick(d, MACHINE), KVM_CREATE_VCPU, (void *)(uintptr_t)below(d, 4))); break;
    case 4:
        if (below(d, 2)) keep(d, OTHER, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        else keep(d, OTHER, call(pick(d, CPU), KVM_GET_STATS_FD, NULL));
        break;
    case 5:
        if (below(d, 2)) keep(d, kind, dup(pick(d, kind)));
        else keep(d, kind, fcntl(pick(d, kind), F_DUPFD_CLOEXEC, below(d, 40)));
        break;
    case 6: pass(d); break;
    case 7: look(d); break;
    case 8: map(d); break;
    case 9: scribble(d); break;
    case 10: region(d, pick(d, MACHINE)); break;
    case 11: case 12: case 13: execute(d, pick(d, CPU)); break;
    case 14:
        if (below(d, 20) == 0) {
            int descriptor = pick(d, kind);
            pid_t child = fork();
            if (child == 0) _exit(ioctl(descriptor, KVM_GET_API_VERSION, 0) > 12);
            int status = 0;
            if (child > 0) CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        }
        break;
    default: {
        int which = below(d, sizeof requests / sizeof *requests);
        structure(d, pick(d, requests[which].kind), requests[which].number);
    }
    }
}

enum { THREADS = 3, STEPS = 3000 };

static void *attack(void *argument) {
    struct draw d = {(uintptr_t)argument * 0x9E3779B97F4A7C15};
    // What ends this thread's runs.
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    event._sigev_un._tid = gettid();
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec often = {{0, 2000000}, {0, 2000000}};
    CHECK(timer_settime(timer, 0, &often, NULL) == 0);
    for (int i = 0; i < STEPS; i++) step(&d);
    CHECK(timer_delete(timer) == 0);
    return NULL;
}

int main(int count, char **arguments) {
    begin();
    double seconds = count > 1 ? atof(arguments[1]) : 0;
    uintptr_t seed = count > 2 ? strtoul(arguments[2], NULL, 10) : 1;
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(pool, 0xFF, sizeof pool);
    memset(stale, 0xFF, sizeof stale);
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        alarm(60);
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_create(&threads[i], NULL, attack, (void *)(seed * THREADS + i)) == 0);
        for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
        seed++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < seconds);
    for (int i = 0; i < KINDS * POOL; i++)
        if (pool[i / POOL][i % POOL] >= 0) close(pool[i / POOL][i % POOL]);
    fprintf(stderr, "%lu calls, %lu succeeded, %lu runs\n", calls, successes, runs);
    CHECK(runs > 100 && successes * 4 > calls);
    // After all that a client is served as before.
    struct machine m = make_machine(0x10000);
    make_cpu(&m);
    static const uint8_t hello[] = {0xB0, 'x', 0xE6, 0x10, 0xF4};
    start_real(&m, m.cpu, hello, sizeof hello, 0x1000);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    print_port(m.run);
    return 0;
}
// expect: out 10 1*1: 78
