/* Times whole processes: runs two commands in turn and prints, for every pair, wall nanoseconds and peak memory of each.
 *
 *     spawn RUNS STDOUT-FILE command-a [argument ...] -- command-b [argument ...]
 *
 * With no arguments it does nothing: that is the floor that others are compared with. A program of its own, small and static, because a
 * child's peak memory begins with that of the process that starts it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long run(char **argv, int out, long *peak_kib) {
    struct timespec start, end;
    struct rusage usage;
    int status = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    pid_t child = vfork();
    if (child == 0) {
        dup2(out, 1);
        dup2(out, 2);
        execv(argv[0], argv);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) < 0) {
        perror("cannot run");
        exit(1);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "%s failed with status %d\n", argv[0], status);
        exit(1);
    }
    *peak_kib = usage.ru_maxrss;
    return (end.tv_sec - start.tv_sec) * 1000000000LL + (end.tv_nsec - start.tv_nsec);
}

int main(int argc, char **argv) {
    if (argc == 1) {
        return 0;
    }
    if (argc < 6) {
        return 2;
    }
    int runs = atoi(argv[1]);
    int out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char **first = &argv[3], **second = NULL;
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            argv[i] = NULL;
            second = &argv[i + 1];
            break;
        }
    }
    if (out < 0 || second == NULL || second[0] == NULL) {
        return 2;
    }
    for (int i = 0; i < runs; i++) {
        long first_peak, second_peak;
        long long a = run(first, out, &first_peak);
        long long b = run(second, out, &second_peak);
        printf("%lld %ld %lld %ld\n", a, first_peak, b, second_peak);
    }
    return 0;
}
