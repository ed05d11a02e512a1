package function

import "bytes"

// output keeps of what a program prints the beginning, and the last line that is
// not blank, of each at most so many bytes. It takes all there is: a program
// whose output nobody takes stands still.
type output struct {
	head, line int // limits

	total int64
	begun []byte // the beginning
	open  kept   // the line that has not ended yet
	ended kept   // the last one before it that is not blank
}

// kept is the beginning of a line.
type kept struct {
	b   []byte
	cut bool
}

func (k *kept) add(p []byte, limit int) {
	room := limit - len(k.b)
	if len(p) > room {
		p, k.cut = p[:room], true
	}
	k.b = append(k.b, p...)
}

func (k *kept) blank() bool { return !k.cut && len(bytes.TrimSpace(k.b)) == 0 }

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	o.total += int64(n)
	if room := o.head - len(o.begun); room > 0 {
		o.begun = append(o.begun, p[:min(room, n)]...)
	}
	first := bytes.IndexByte(p, '\n')
	if first < 0 {
		o.open.add(p, o.line)
		return n, nil
	}
	o.open.add(p[:first], o.line)
	o.end()
	// Of the lines within p the last that is not blank counts.
	p = p[first+1:]
	last := bytes.LastIndexByte(p, '\n')
	for end := last; end >= 0; {
		from := bytes.LastIndexByte(p[:end], '\n') + 1
		if line := p[from:end]; len(line) > o.line || len(bytes.TrimSpace(line)) > 0 {
			o.open.add(line, o.line)
			o.end()
			break
		}
		end = from - 1
	}
	o.open.add(p[last+1:], o.line)
	return n, nil
}

// end ends the open line.
func (o *output) end() {
	if !o.open.blank() {
		o.open, o.ended = o.ended, o.open
	}
	o.open = kept{b: o.open.b[:0]}
}

// whole is all of the output; fits is false where there was more than is kept.
func (o *output) whole() (b []byte, fits bool) {
	return o.begun, o.total <= int64(o.head)
}

// last is the last line that is not blank; cut says that it goes on.
func (o *output) last() (line []byte, cut bool) {
	k := o.open
	if k.blank() {
		k = o.ended
	}
	return bytes.TrimSpace(k.b), k.cut
}
