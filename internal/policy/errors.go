package policy

import "errors"

var (
	// ErrTimeLimit says that the evaluation was stopped by its time limit or by
	// its caller: the answer is unknown.
	ErrTimeLimit = errors.New("policy time limit")
	// ErrPolicy says that the policy gave no usable answer: a builtin error, no
	// result, several, or one of another shape. The answer is deny.
	ErrPolicy = errors.New("policy error")
	// ErrInputTooLarge says that the input is over limits.policy_input_bytes.
	ErrInputTooLarge = errors.New("policy input too large")
	// ErrDocument says that a file is no input document.
	ErrDocument = errors.New("input is no document of the schema signet/input/v1")
	// ErrLoad wraps everything that makes a bundle or its parameters unfit.
	ErrLoad = errors.New("policy cannot be loaded")
)
