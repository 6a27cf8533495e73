#pragma once

/* What a starting container and its parent tell each other, one packet each on a SOCK_SEQPACKET pair. C, because
   guest/init speaks it too, and guest/zygote.py in numbers. The first packets come from the forked child, the later
   ones from init and, once, from the main process. */

#include <stdint.h>

enum GridironNoteKind {
  gridironNoteFailed = 'F',  /* `step` failed with `error`; the container ends */
  gridironNoteMade = 'C',    /* a mount point had to be made; its path follows the struct, without a final zero */
  gridironNoteRootfs = 'R',  /* the root file system stands; it took `took` nanoseconds */
  gridironNoteMain = 'M',    /* sent by the main process just before exec: its credentials carry its pid */
  gridironNoteStarted = 'S', /* the main process's exec has succeeded */
  gridironNoteEnded = 'E',   /* the main process (a nursery: process `pid`) has ended with wait status `status` */
  gridironNoteBorn = 'B',    /* below a nursery: init is process `pid` */
  gridironNoteHeld = 'H',    /* init stands and waits to be told of its main process */
  /* The other way, to an init that is held: */
  gridironNoteRun = 'X',   /* start the main process */
  gridironNoteAdopt = 'A', /* process `pid` is the main process: it came from a zygote */
  gridironNoteOwn = 'O'    /* process `pid`, a child of init's, is the main process: it was restored */
};

/* How init is started: its first argument. */
#define GRIDIRON_INIT_RUN "run"         /* starts the main process and ends with it */
#define GRIDIRON_INIT_HOLD "hold"       /* waits for gridironNoteRun or gridironNoteAdopt */
#define GRIDIRON_INIT_NURSERY "nursery" /* as run, but outlives the main process: other containers are below it */

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
  gridironStepBelow, /* entering the nursery's namespaces */
  gridironStepFork,  /* the zygote's part: what went wrong follows as text */
  gridironStepCount
};

struct GridironNote {
  int32_t kind, step, error, status, pid, unused;
  int64_t took;
};

/* The descriptor of the socket in init. */
enum { gridironControlFd = 3 };
