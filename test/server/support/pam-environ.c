// A module of PAM's that writes the environment it runs in to the file that its argument names, a line of each.

#include <stdio.h>

extern char **environ;

static int note(int argc, const char **argv) {
  FILE *to = argc > 0 ? fopen(argv[0], "a") : NULL;
  if (to == NULL) return 3; // PAM_SERVICE_ERR
  for (char **entry = environ; *entry != NULL; entry++) fprintf(to, "%s\n", *entry);
  return fclose(to) == 0 ? 0 : 3;
}

#define CALL(name) \
  int name(void *handle, int flags, int argc, const char **argv) { \
    (void)handle; \
    (void)flags; \
    return note(argc, argv); \
  }

CALL(pam_sm_acct_mgmt)
CALL(pam_sm_setcred)
CALL(pam_sm_open_session)
CALL(pam_sm_close_session)
