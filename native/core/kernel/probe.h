// What this kernel lets this process do, found out by doing it: a range of a few pages is registered, one page is
// moved, one copied. Never by a version number: containers, seccomp filters and security modules take away what a
// version promises. Nothing is logged and nothing stays open. Any thread may call it; it takes about 100 µs.
#pragma once

namespace glissade {

struct Probe {
  char kernel[65];  // uname's release

  struct {
    bool available;       // a descriptor could be had, a private anonymous range registered, a page copied
    int errno_;           // 0, or why not
    const char* step;     // the step that failed: "open" (with the handshake), "register", "copy", or ""
    bool user_mode_only;  // the descriptor delivers no faults taken inside system calls
    bool move;            // a page was moved by UFFDIO_MOVE
    int move_errno;       // 0, or why not
    bool sigbus;          // faults can arrive as SIGBUS on the faulting thread
    bool wp_async;        // the kernel can track writes by itself
  } userfaultfd;

  bool mremap_dontunmap;  // a mapping can be moved away and left empty at once
  int mremap_errno;
};

Probe probe();

}  // namespace glissade
