// Package watch decides again what was decided before, without being asked: the
// images that somebody asked for lately, and those that are listed. When one is
// decided otherwise than before, that is an event, with the cause and with who
// relies on the image. Begin with [New] and [Watcher.Run]; one process runs at a
// time. [Feed] hands events on to those who listen, in any process.
//
// An image is decided again at the digest that was answered, when what is in force
// changes, when a time comes that may change the decision, and daily with a fresh
// search; at a bounded rate. Deciding goes the one way through, by the principal
// [Principal]; its own verdicts do not count as asking.
package watch
