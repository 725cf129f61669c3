package main

import (
	"os"
	"path"
	"strings"
	"syscall"
)

// What is made has the mode that the code says; parents of the base have what `mkdir -p` gives.
var umask = syscall.Umask(0)

// A base that was examined, and the modes of what is made in it (BASE-8, BASE-9).
type base struct {
	path                       string
	directoryMode, messageMode uint32
}

func (b base) join(names ...string) string {
	return b.path + "/" + path.Join(names...)
}

// place is where the base is, and whether the user named it (BASE-1, BASE-2).
func place() (string, bool) {
	if home := os.Getenv("PUBSUB_HOME"); home != "" {
		return home, true
	}
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm/pubsub", false
	}
	if parent := os.Getenv("TMPDIR"); parent != "" {
		return parent + "/pubsub", false
	}
	return "/tmp/pubsub", false
}

func unusable(directory, fault string) *failure {
	return fail("base-unusable", strings.ToValidUTF8(directory, "?")+": "+fault+
		"; PUBSUB_HOME can name another directory")
}

func baseError(directory string, err error) error {
	if is(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO) {
		return ioError(err)
	}
	found := unusable(directory, strings.ToValidUTF8(err.Error(), "?"))
	found.cause = err
	return found
}

// makeAll makes a directory with mode 0700, and its parents.
func makeAll(directory string) error {
	made := ""
	if strings.HasPrefix(directory, "/") {
		made = "/"
	}
	var names []string
	for _, name := range strings.Split(directory, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	for i, name := range names {
		made += name
		mode := uint32(0o777 &^ umask)
		if i == len(names)-1 || strings.Contains(directory, "..") {
			mode = 0o700
		}
		if err := syscall.Mkdir(made, mode); err != nil && !is(err, syscall.EEXIST) {
			return &os.PathError{Op: "mkdir", Path: made, Err: err}
		}
		made += "/"
	}
	return nil
}

// openBase makes the base if it does not exist, and examines it (BASE-3 to BASE-5).
func openBase() (b base, err error) {
	directory, explicit := place()
	look := os.Lstat
	if explicit {
		look = os.Stat
	}
	info, err := look(directory)
	if is(err, syscall.ENOENT) {
		if err = makeAll(directory); err == nil {
			info, err = look(directory)
		}
	}
	if err != nil {
		return b, baseError(directory, err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	untrusted := uint32(0o002)
	if !explicit {
		untrusted = 0o022
	}
	switch {
	case !info.IsDir():
		return b, unusable(directory, "it is not a directory")
	case !explicit && stat.Uid != 0 && stat.Uid != uint32(os.Geteuid()):
		return b, unusable(directory, "it belongs to another user")
	case stat.Mode&untrusted != 0 && stat.Mode&syscall.S_ISVTX == 0:
		return b, unusable(directory, "others may write to it, and it has no sticky bit")
	}
	b = base{directory, 0o700, 0o600}
	if stat.Mode&0o022 != 0 {
		b.directoryMode |= stat.Mode & 0o077
		for _, both := range []uint32{0o060, 0o006} {
			if stat.Mode&both == both {
				b.messageMode |= both & 0o044
			}
		}
	}
	return b, nil
}

// makeTmp makes `tmp` if it does not exist. ENOENT: the base is gone.
func (b base) makeTmp() error {
	err := syscall.Mkdir(b.join("tmp"), b.directoryMode)
	if err == nil || is(err, syscall.ENOENT) {
		return err
	}
	if !is(err, syscall.EEXIST) {
		return baseError(b.join("tmp"), err)
	}
	info, err := os.Lstat(b.join("tmp"))
	if err != nil {
		return baseError(b.join("tmp"), err)
	}
	if !info.IsDir() {
		return unusable(b.join("tmp"), "it is not a directory")
	}
	return nil
}
