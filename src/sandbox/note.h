#pragma once

/* What a starting container tells its parent, one packet each on a SOCK_SEQPACKET pair. C, because guest/init speaks it
   too. The first packets come from the forked child, the later ones from init and, once, from the main process. */

#include <stdint.h>

enum GridironNoteKind {
  gridironNoteFailed = 'F',  /* `step` failed with `error`; the container ends */
  gridironNoteMade = 'C',    /* a mount point had to be made; its path follows the struct, without a final zero */
  gridironNoteRootfs = 'R',  /* the root file system stands; it took `took` nanoseconds */
  gridironNoteMain = 'M',    /* sent by the main process just before exec: its credentials carry its pid */
  gridironNoteStarted = 'S', /* the main process's exec has succeeded */
  gridironNoteEnded = 'E'    /* the main process has ended with wait status `status` */
};

enum GridironStep {
  gridironStepCgroup,
  gridironStepIdentity,
  gridironStepStage,
  gridironStepLayers,
  gridironStepOverlay,
  gridironStepPivot,
  gridironStepProc,
  gridironStepSys,
  gridironStepDev,
  gridironStepBind,
  gridironStepMask,
  gridironStepHostname,
  gridironStepParent,
  gridironStepWorkdir,
  gridironStepOutput,
  gridironStepCapabilities,
  gridironStepSeccomp,
  gridironStepInit,
  gridironStepExec,
  gridironStepCount
};

struct GridironNote {
  int32_t kind, step, error, status;
  int64_t took;
};

/* The descriptor of the socket in init. */
enum { gridironControlFd = 3 };
