/* Preloaded into a process, writes down in order all that it does to the files below a folder.

   RECORDED is the folder, RECORDING the file to append to, SYNC_MICROSECONDS how much longer each
   sync takes. An entry is a kind, a handle, an offset, a length and as many bytes; see trace.py. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define HANDLES 4096
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t order = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static uint32_t handles[HANDLES], last_handle;
static char folder[PATH_MAX];
static size_t folder_length;
static int trace = -1;
static useconds_t longer;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("RECORDED"), *to = getenv("RECORDING"), *late = getenv("SYNC_MICROSECONDS");
    if (!path || !to) return;
    snprintf(folder, sizeof folder, "%s", path);
    folder_length = strlen(folder);
    longer = late ? atoi(late) : 0;
    trace = REAL(open)(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length) {
        ssize_t done = REAL(write)(trace, at, length);
        if (done < 0) abort();
        at += done;
        length -= done;
    }
}

static void note(char kind, uint32_t handle, uint64_t offset, const void *bytes, uint32_t length) {
    struct __attribute__((packed)) { char kind; uint32_t handle; uint64_t offset; uint32_t length; }
        head = {kind, handle, offset, length};
    put(&head, sizeof head);
    put(bytes, length);
}

/* The path below the folder, or NULL if it is elsewhere. */
static const char *below(int at, const char *path, char *room) {
    if (trace < 0 || !path) return NULL;
    if (path[0] != '/') {
        char link[64];
        ssize_t length;
        if (at == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        length = readlink(link, room, PATH_MAX);
        if (length < 0 || snprintf(room + length, PATH_MAX - length, "/%s", path) < 0) return NULL;
        path = room;
    }
    if (strncmp(path, folder, folder_length)) return NULL;
    if (path[folder_length] == 0) return "";
    return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

static int opened(int at, const char *path, int flags, mode_t mode) {
    char room[PATH_MAX];
    const char *name = below(at, path, room);
    if (!name) return REAL(openat)(at, path, flags, mode);
    pthread_mutex_lock(&order);
    int made = faccessat(at, path, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
    int fd = REAL(openat)(at, path, flags, mode);
    if (fd >= 0) {
        int saved = errno;
        if (fd >= HANDLES) abort();
        handles[fd] = ++last_handle;
        note('o', last_handle, made | (flags & O_TRUNC ? 2 : 0), name, strlen(name));
        errno = saved;
    }
    pthread_mutex_unlock(&order);
    return fd;
}

#define MODE(flags) ({ mode_t mode = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { \
    va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } mode; })

int open(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE(flags)); }
int open64(const char *path, int flags, ...) { return opened(AT_FDCWD, path, flags, MODE(flags)); }
int openat(int at, const char *path, int flags, ...) { return opened(at, path, flags, MODE(flags)); }
int openat64(int at, const char *path, int flags, ...) { return opened(at, path, flags, MODE(flags)); }

static uint32_t handle_of(int fd) { return trace >= 0 && fd >= 0 && fd < HANDLES ? handles[fd] : 0; }

int close(int fd) {
    if (handle_of(fd)) handles[fd] = 0;
    return REAL(close)(fd);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    uint32_t handle = handle_of(fd);
    if (!handle) return REAL(write)(fd, bytes, length);
    pthread_mutex_lock(&order);
    ssize_t done = REAL(write)(fd, bytes, length);
    int saved = errno;
    if (done > 0) note('w', handle, lseek(fd, 0, SEEK_CUR) - done, bytes, done);
    errno = saved;
    pthread_mutex_unlock(&order);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    uint32_t handle = handle_of(fd);
    if (!handle) return REAL(pwrite64)(fd, bytes, length, offset);
    pthread_mutex_lock(&order);
    ssize_t done = REAL(pwrite64)(fd, bytes, length, offset);
    int saved = errno;
    if (done > 0) note('w', handle, offset, bytes, done);
    errno = saved;
    pthread_mutex_unlock(&order);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite64(fd, bytes, length, offset);
}

int ftruncate64(int fd, off64_t length) {
    pthread_mutex_lock(&order);
    int failed = REAL(ftruncate64)(fd, length), saved = errno;
    if (!failed && handle_of(fd)) note('t', handle_of(fd), length, "", 0);
    errno = saved;
    pthread_mutex_unlock(&order);
    return failed;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int synced(int fd, int (*sync)(int)) {
    uint32_t handle = handle_of(fd);
    if (!handle) return sync(fd);
    pthread_mutex_lock(&order);
    note('s', handle, 0, "", 0);
    pthread_mutex_unlock(&order);
    int failed = sync(fd), saved = errno;
    if (longer) usleep(longer);
    pthread_mutex_lock(&order);
    if (!failed) note('S', handle, 0, "", 0);
    pthread_mutex_unlock(&order);
    errno = saved;
    return failed;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

int renameat(int from, const char *old, int to, const char *new) {
    char room[PATH_MAX], more[PATH_MAX], both[2 * PATH_MAX];
    const char *was = below(from, old, room), *is = below(to, new, more);
    pthread_mutex_lock(&order);
    int failed = REAL(renameat)(from, old, to, new), saved = errno;
    if (!failed && was && is) {
        int length = snprintf(both, sizeof both, "%s", was) + 1;
        length += snprintf(both + length, sizeof both - length, "%s", is);
        note('r', 0, 0, both, length);
    }
    pthread_mutex_unlock(&order);
    errno = saved;
    return failed;
}

int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }

int unlinkat(int at, const char *path, int flags) {
    char room[PATH_MAX];
    const char *name = below(at, path, room);
    pthread_mutex_lock(&order);
    int failed = REAL(unlinkat)(at, path, flags), saved = errno;
    if (!failed && name) note('u', 0, 0, name, strlen(name));
    pthread_mutex_unlock(&order);
    errno = saved;
    return failed;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int at, const char *path, mode_t mode) {
    char room[PATH_MAX];
    const char *name = below(at, path, room);
    pthread_mutex_lock(&order);
    int failed = REAL(mkdirat)(at, path, mode), saved = errno;
    if (!failed && name) note('m', 0, 0, name, strlen(name));
    pthread_mutex_unlock(&order);
    errno = saved;
    return failed;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
