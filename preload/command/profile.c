#include "preload/command/command.h"
int command_profile(int argc, char **argv) { fail(1, "x"); }
