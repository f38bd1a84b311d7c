/* Stands between a program and the files whose paths contain MOORGATE_SHIM_MATCH, for tests: LD_PRELOAD=disk.so program.
 *
 * Record: with MOORGATE_SHIM_RECORD=<file>, what would change a disk is appended to that file, in order: a header of four
 * 64-bit numbers (what, which open file of which process, where, how many bytes) and the bytes. What: 1 a name (the bytes are the path), 2 a write,
 * 3 a truncation (to where), 4 a sync, 5 the removal of a name (the bytes are the path), 6 a name given to a file that had another (the
 * bytes are the new path). A write is in the record before it is made, and a sync once it is done.
 *
 * Fail: with MOORGATE_SHIM_FAIL=<file>, that file holds three 32-bit numbers: how many calls to go until one fails (0: none),
 * its error, and whether all later ones fail too. The first number is counted down here. Writes, truncations and syncs count.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 65536

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static const char *match;
static int record = -1;
static volatile int32_t *fail;
static char watched[FILES];

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_rename)(const char *, const char *);

__attribute__((constructor)) static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open");
    real_close = dlsym(RTLD_NEXT, "close");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_rename = dlsym(RTLD_NEXT, "rename");
    match = getenv("MOORGATE_SHIM_MATCH");
    const char *path = getenv("MOORGATE_SHIM_RECORD");
    if (path) record = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    path = getenv("MOORGATE_SHIM_FAIL");
    if (path) {
        int fd = real_open(path, O_RDWR | O_CLOEXEC);
        void *found = mmap(NULL, 12, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (found != MAP_FAILED) fail = found;
        real_close(fd);
    }
}

static int is_watched(int fd) { return fd >= 0 && fd < FILES && watched[fd]; }

/* Whether a path is of the database or its WAL. The shared memory file is no part of what a disk must keep. */
static int matches(const char *path) {
    size_t length = strlen(path);
    return match && strstr(path, match) && !(length > 4 && !strcmp(path + length - 4, "-shm")) && !strstr(path, ".lock");
}

static void note(int64_t what, int64_t file, int64_t where, const void *bytes, int64_t length) {
    if (record < 0) return;
    int64_t header[4] = { what, ((int64_t)getpid() << 16) | file, where, length };
    struct iovec parts[2] = { { header, sizeof header }, { (void *)bytes, bytes ? (size_t)length : 0 } };
    if (writev(record, parts, 2) < 0) abort();
}

/* Whether this call is to fail. */
static int fails(void) {
    if (!fail || fail[0] == 0) return 0;
    if (fail[0] == 1) {
        if (!fail[2]) fail[0] = 0;
        errno = fail[1];
        return 1;
    }
    fail[0]--;
    return 0;
}

static int opened(int fd, const char *path) {
    if (fd >= 0 && fd < FILES) {
        pthread_mutex_lock(&mutex);
        watched[fd] = (char)matches(path);
        if (watched[fd]) note(1, fd, 0, path, (int64_t)strlen(path));
        pthread_mutex_unlock(&mutex);
    }
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(real_open(path, flags, mode), path);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(real_open(path, flags | O_LARGEFILE, mode), path);
}

int close(int fd) {
    if (fd >= 0 && fd < FILES) watched[fd] = 0;
    return real_close(fd);
}

static ssize_t at(int fd, const void *bytes, size_t length, off_t where, int with_place) {
    pthread_mutex_lock(&mutex);
    if (fails()) {
        pthread_mutex_unlock(&mutex);
        return -1;
    }
    note(2, fd, with_place ? where : lseek(fd, 0, SEEK_CUR), bytes, (int64_t)length);
    ssize_t written = with_place ? real_pwrite(fd, bytes, length, where) : real_write(fd, bytes, length);
    pthread_mutex_unlock(&mutex);
    return written;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    return is_watched(fd) ? at(fd, bytes, length, 0, 0) : real_write(fd, bytes, length);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t where) {
    return is_watched(fd) ? at(fd, bytes, length, where, 1) : real_pwrite(fd, bytes, length, where);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t where) { return pwrite(fd, bytes, length, where); }

int ftruncate(int fd, off_t length) {
    if (!is_watched(fd)) return real_ftruncate(fd, length);
    pthread_mutex_lock(&mutex);
    int done = -1;
    if (!fails()) {
        note(3, fd, length, NULL, 0);
        done = real_ftruncate(fd, length);
    }
    pthread_mutex_unlock(&mutex);
    return done;
}

int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

/* A sync that is recorded covers what was recorded before it began. */
static int synced(int fd, int (*sync)(int)) {
    if (!is_watched(fd)) return sync(fd);
    pthread_mutex_lock(&mutex);
    int done = fails() ? -1 : sync(fd);
    if (done == 0) note(4, fd, 0, NULL, 0);
    pthread_mutex_unlock(&mutex);
    return done;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int unlink(const char *path) {
    if (!matches(path)) return real_unlink(path);
    pthread_mutex_lock(&mutex);
    note(5, 0, 0, path, (int64_t)strlen(path));
    int done = real_unlink(path);
    pthread_mutex_unlock(&mutex);
    return done;
}

int rename(const char *from, const char *to) {
    if (!matches(to)) return real_rename(from, to);
    pthread_mutex_lock(&mutex);
    note(6, 0, 0, to, (int64_t)strlen(to));
    int done = real_rename(from, to);
    pthread_mutex_unlock(&mutex);
    return done;
}
