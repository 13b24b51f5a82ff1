package api

import "github.com/signet-policy/signet/internal/pep"

// checkImage is [pep.CheckImage] as a problem.
func checkImage(image string) *problem { return mistaken(pep.CheckImage(image)) }

// checkPlatform is [pep.CheckPlatform] as a problem.
func checkPlatform(platform string) *problem { return mistaken(pep.CheckPlatform(platform)) }

// checkRecorded is [pep.CheckRecorded] as a problem.
func checkRecorded(assessment string, labels map[string]string) *problem {
	return mistaken(pep.CheckRecorded(assessment, labels))
}

// mistaken is what is wrong with a question as a problem, nil for nothing.
func mistaken(m *pep.Mistake) *problem {
	if m == nil {
		return nil
	}
	return &problem{code: code(m.Code), field: m.Field, detail: m.Detail, cause: m.Cause}
}

const (
	longestImage      = pep.LongestImage
	longestAssessment = pep.LongestAssessment
)
