package api

import "github.com/signet-policy/signet/internal/auth"

// scoped says that the principal is bound to some images.
func scoped(p auth.Principal) bool { return len(p.Images) > 0 }

// sees says whether the principal may read of an image, as it was asked for.
// What has no name that could be compared is seen only by who sees everything.
func (s *Server) sees(p auth.Principal, image string) bool {
	if !scoped(p) {
		return true
	}
	if s.cfg.ImageName == nil {
		return false
	}
	name, err := s.cfg.ImageName(image)
	return err == nil && p.Sees(name)
}

// inScope refuses an image that the principal may not ask about.
func (s *Server) inScope(p auth.Principal, image string) *problem {
	if s.cfg.ImageName != nil {
		if _, err := s.cfg.ImageName(image); err != nil {
			return &problem{code: codeInvalidField, field: "image", cause: err, detail: "The image " + shown(image) + " is not right: " + lowerFirst(sentence(err.Error()))}
		}
	}
	if s.sees(p, image) {
		return nil
	}
	return &problem{code: codeOutOfScope, field: "image", detail: "The principal " + shown(p.Name) + " may ask about " + oneOf(p.Images) + " only, and " + shown(image) + " is not among them."}
}
