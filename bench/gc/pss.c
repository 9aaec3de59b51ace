/* pss [-p LIBRARY] [VAR=VALUE]... COMMAND [ARGUMENT]...: runs a command with LIBRARY in LD_PRELOAD and prints the most
 * memory that it and its children had together, in KiB: shared pages divided by those who share them (Pss), looked at
 * every 10 ms. The looks disturb what they look at: no times are taken from such a run. Status: the command's. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static long pss_of(int pid) {
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Pss: %ld", &kib) == 1) break;
    if (f) fclose(f);
    return kib;
}

/* Of the children that one thread has made. */
static long pss_of_children(int pid, const char *tid) {
    char path[300];
    long sum = 0;
    int child;
    snprintf(path, sizeof path, "/proc/%d/task/%s/children", pid, tid);
    FILE *f = fopen(path, "r");
    while (f && fscanf(f, "%d", &child) == 1) sum += pss_of(child);
    if (f) fclose(f);
    return sum;
}

static long pss_of_all(int pid) {
    char path[64];
    long sum = pss_of(pid);
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (const struct dirent *t; tasks && (t = readdir(tasks)) != NULL;)
        if (t->d_name[0] != '.') sum += pss_of_children(pid, t->d_name);
    if (tasks) closedir(tasks);
    return sum;
}

static void run(char **words, const char *library) {
    if (!freopen("/dev/null", "w", stdout)) _exit(127);
    if (library) setenv("LD_PRELOAD", library, 1);
    while (*words && strchr(*words, '=')) putenv(*words++);
    if (*words) execvp(*words, words);
    perror("pss");
    _exit(127);
}

int main(int argc, char **argv) {
    const char *library = NULL;
    int first = 1, status = 0;
    if (argc > 2 && strcmp(argv[1], "-p") == 0) library = argv[2], first = 3;
    pid_t child = fork();
    if (child == 0) run(argv + first, library);
    long most = 0;
    while (child > 0 && waitpid(child, &status, WNOHANG) == 0) {
        long now = pss_of_all(child);
        most = now > most ? now : most;
        usleep(10000);
    }
    printf("%ld\n", most);
    return child < 0 ? 127 : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
