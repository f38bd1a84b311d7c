/* Put in front of the C library: each sync fails for as long as the file $FAILING_SYNCS has bytes, and takes one away. Each that
   does not adds a byte to the file $SYNCS. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int sync_or_fail(long call, int fd) {
    const char *path = getenv("FAILING_SYNCS");
    struct stat found;
    if (path && stat(path, &found) == 0 && found.st_size > 0 && truncate(path, found.st_size - 1) == 0) {
        errno = EIO;
        return -1;
    }
    path = getenv("SYNCS");
    int counted = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (counted >= 0) {
        if (write(counted, "x", 1) != 1) abort();
        close(counted);
    }
    return (int)syscall(call, fd);
}

int fsync(int fd) { return sync_or_fail(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_or_fail(SYS_fdatasync, fd); }
