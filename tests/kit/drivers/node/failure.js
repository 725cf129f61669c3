// The errors of the specification: a code, and for io-error the name of the system's error.
"use strict";

const { errno } = require("node:os").constants;

const NAMES = new Map(Object.entries(errno).map(([name, number]) => [-number, name]));

class Failure extends Error {
  constructor(code, detail, fields = {}, cause = undefined) {
    super(detail, { cause });
    Object.assign(this, { code, fields });
  }
}

/** The name of the error of a system call. Node's `code` has no name for some, such as EDQUOT. */
function nameOf(error) {
  if (error.syscall === undefined) throw error; // a bug
  return error.code in errno ? error.code : NAMES.get(error.errno);
}

function ioError(error, fields = {}) {
  if (error instanceof Failure) return error;
  return new Failure("io-error", error.message, { errno: nameOf(error), ...fields });
}

/** Does a system call. Returns undefined if it fails with one of these errors. */
function unless(names, call) {
  try {
    return call();
  } catch (error) {
    if (error instanceof Failure || !names.includes(nameOf(error))) throw error;
    return undefined;
  }
}

/** Does a system call; again if a signal interrupts it. libuv repeats all of them but `read`. */
function again(call) {
  for (;;) {
    const done = unless(["EINTR"], () => [call()]);
    if (done) return done[0];
  }
}

module.exports = { Failure, again, ioError, nameOf, unless };
