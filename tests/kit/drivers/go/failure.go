package main

import (
	"errors"
	"strings"
	"syscall"
)

// A failure is an error of the specification, or bad-request.
type failure struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Errno  string `json:"errno,omitempty"`
	Count  *int   `json:"count,omitempty"`
	cause  error  // of base-unusable: the system's error, or nil
}

func (f *failure) Error() string { return f.Code + ": " + f.Detail }

func fail(code, detail string) *failure { return &failure{Code: code, Detail: detail} }

// The errors that a file system reports, by their numbers on this system.
var names = map[syscall.Errno]string{
	syscall.EACCES: "EACCES", syscall.EAGAIN: "EAGAIN", syscall.EBUSY: "EBUSY",
	syscall.EDQUOT: "EDQUOT", syscall.EEXIST: "EEXIST", syscall.EFBIG: "EFBIG",
	syscall.EINTR: "EINTR", syscall.EINVAL: "EINVAL", syscall.EIO: "EIO", syscall.EISDIR: "EISDIR",
	syscall.ELOOP: "ELOOP", syscall.EMFILE: "EMFILE", syscall.EMLINK: "EMLINK",
	syscall.ENAMETOOLONG: "ENAMETOOLONG", syscall.ENFILE: "ENFILE", syscall.ENODEV: "ENODEV",
	syscall.ENOENT: "ENOENT", syscall.ENOMEM: "ENOMEM", syscall.ENOSPC: "ENOSPC",
	syscall.ENOTDIR: "ENOTDIR", syscall.ENOTEMPTY: "ENOTEMPTY", syscall.ENXIO: "ENXIO",
	syscall.EOPNOTSUPP: "EOPNOTSUPP", syscall.EPERM: "EPERM", syscall.EPIPE: "EPIPE",
	syscall.EROFS: "EROFS", syscall.ESTALE: "ESTALE", syscall.EXDEV: "EXDEV",
}

// errnoOf is the system's error, or 0 if err is none.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	errors.As(err, &errno)
	return errno
}

func is(err error, errnos ...syscall.Errno) bool {
	for _, errno := range errnos {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// gone says whether the error says that a file does not exist.
func gone(err error) bool { return is(err, syscall.ENOENT, syscall.ENOTDIR) }

// ioError is the io-error of a system's error; a failure stays what it is.
func ioError(err error) *failure {
	var known *failure
	if errors.As(err, &known) {
		return known
	}
	name, found := names[errnoOf(err)]
	if !found {
		panic(err)
	}
	return &failure{Code: "io-error", Detail: strings.ToValidUTF8(err.Error(), "?"), Errno: name}
}

// again repeats a call that a signal interrupts. Go's runtime sends signals to its own threads.
func again[T any](call func() (T, error)) (T, error) {
	for {
		result, err := call()
		if !is(err, syscall.EINTR) {
			return result, err
		}
	}
}
