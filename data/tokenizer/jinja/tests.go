package jinja

type testFunc func(r *run, v Value, c *callArgs) (Value, error)

var tests map[string]testFunc

// testProblem returns what is wrong with the test named id, or "".
func testProblem(id string) string {
	if tests[id] == nil {
		return "does not exist"
	}
	return ""
}

func init() {
	is := func(f func(v Value) bool) testFunc {
		return func(_ *run, v Value, c *callArgs) (Value, error) { return f(v), c.none() }
	}
	operator := func(op kind) testFunc {
		return func(r *run, v Value, c *callArgs) (Value, error) {
			a, err := c.bind("/", "other")
			if err != nil {
				return nil, err
			}
			return r.compare(op, v, a[0])
		}
	}
	tests = map[string]testFunc{
		"boolean":     is(func(v Value) bool { _, ok := v.(bool); return ok }),
		"callable":    is(isCallable),
		"defined":     is(func(v Value) bool { _, ok := v.(*undefined); return !ok }),
		"divisibleby": testDivisible,
		"escaped":     is(func(v Value) bool { _, ok := v.(markup); return ok }),
		"even":        func(r *run, v Value, c *callArgs) (Value, error) { return testParity(r, v, c, 0) },
		"false":       is(func(v Value) bool { return v == Value(false) }),
		"filter": func(r *run, v Value, c *callArgs) (Value, error) {
			return testName(r, v, c, func(id string) bool { return filters[id] != nil || unsupportedFilters[id] != "" })
		},
		"float":    is(func(v Value) bool { _, ok := v.(float64); return ok }),
		"in":       testIn,
		"integer":  is(isInteger),
		"iterable": is(isIterable),
		"lower":    func(r *run, v Value, c *callArgs) (Value, error) { return testText(r, v, c, isLower) },
		"mapping":  is(func(v Value) bool { _, ok := v.(*Dict); return ok }),
		"none":     is(func(v Value) bool { return v == nil }),
		"number":   is(func(v Value) bool { _, big := v.(integer); return big || isNumber(v) }),
		"odd":      func(r *run, v Value, c *callArgs) (Value, error) { return testParity(r, v, c, 1) },
		"sameas":   testSame,
		"sequence": is(isSequence),
		"string":   is(func(v Value) bool { _, ok := asText(v); return ok }),
		"test": func(r *run, v Value, c *callArgs) (Value, error) {
			return testName(r, v, c, func(id string) bool { return tests[id] != nil })
		},
		"true":      is(func(v Value) bool { return v == Value(true) }),
		"undefined": is(func(v Value) bool { _, ok := v.(*undefined); return ok }),
		"upper":     func(r *run, v Value, c *callArgs) (Value, error) { return testText(r, v, c, isUpper) },
	}
	for op, names := range map[kind][]string{
		"==": {"==", "eq", "equalto"}, "!=": {"!=", "ne"}, ">": {">", "gt", "greaterthan"}, ">=": {">=", "ge"},
		"<": {"<", "lt", "lessthan"}, "<=": {"<=", "le"},
	} {
		for _, id := range names {
			tests[id] = operator(op)
		}
	}
}

func isInteger(v Value) bool {
	switch v.(type) {
	case int, integer:
		return true
	}
	return false
}

func isCallable(v Value) bool {
	switch v.(type) {
	case *function, *method, *macroValue, *loopValue, *joiner, *undefined:
		return true
	}
	return false
}

func isIterable(v Value) bool {
	if _, ok := v.(*loopValue); ok {
		return true
	}
	_, err := iterate(v)
	return err == nil
}

func isSequence(v Value) bool {
	if _, ok := v.(*view); ok {
		return false
	}
	_, ok := length(v)
	return ok
}

func testParity(r *run, v Value, c *callArgs, want int) (Value, error) {
	if err := c.none(); err != nil {
		return nil, err
	}
	m, err := r.operate("%", v, 2)
	if err != nil {
		return nil, err
	}
	return r.equal(m, want, 0)
}

func testDivisible(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("num")
	if err != nil {
		return nil, err
	}
	m, err := r.operate("%", v, a[0])
	if err != nil {
		return nil, err
	}
	return r.equal(m, 0, 0)
}

func testText(r *run, v Value, c *callArgs, is func(string) bool) (Value, error) {
	s, err := r.str(v)
	if err != nil {
		return nil, err
	}
	return is(s), c.none()
}

func testName(r *run, v Value, c *callArgs, known func(id string) bool) (Value, error) {
	if _, err := r.hash(v, 0); err != nil {
		return nil, err
	}
	id, ok := asText(v)
	return ok && known(id), c.none()
}

func testIn(r *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("seq")
	if err != nil {
		return nil, err
	}
	return r.contains(a[0], v)
}

// testSame is Python's v is other, if the result does not depend on how Python stores values.
func testSame(_ *run, v Value, c *callArgs) (Value, error) {
	a, err := c.bind("other")
	if err != nil {
		return nil, err
	}
	for _, x := range []Value{v, a[0]} {
		switch x.(type) {
		case nil, bool:
			return v == a[0], nil
		}
	}
	if typeName(v) != typeName(a[0]) {
		return false, nil
	}
	switch v.(type) {
	case *List, *Dict, *namespace:
		return v == a[0], nil
	}
	return nil, unsupported("sameas between " + typeName(v) + " objects")
}
