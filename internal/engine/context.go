package engine

// Declared gives the context keys, with their values, that policies in force
// declare for an image of this normalised name: what a request may bring along.
func (st *State) Declared(name string) map[string][]string {
	all := map[string][]string{}
	for _, p := range st.named(name) {
		for key, values := range p.Set.Context() {
			all[key] = append(all[key], values...)
		}
	}
	return all
}
