#!/usr/bin/env python3
"""Renders small templates with Jinja2 3.1.6 in the environment of transformers 5.24, for TestCases.

    pip install jinja2==3.1.6 transformers==5.24.0
    python cases.py > cases.jsonl

Each line contains the template, its text and the spans of its generation blocks, or the class of the error.
"""
import copy, itertools, json, random
from transformers.utils.chat_template_utils import _compile_jinja_template

V = {"s": "Hello, World ", "u": "Straße É ✓ ΣΑΣ ﬁ", "n": 7, "z": 0, "f": 2.567, "neg": -7, "b": True, "none": None,
     "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "d": {"b": 1, "a": 2, "items": 5}, "e": "", "el": [], "ed": {},
     "nest": [1, [2, [3.0, None]], {"a": {"b": ["c"]}}], "m": [{"r": "u", "c": "Hi"}, {"r": "a", "c": " Yo "}],
     "dd": [{"k": "x", "v": 1, "n": {"a": 2}}, {"k": "Y", "v": 2}, {"k": "X", "v": 3, "n": {"a": 1}}, {"v": 9}],
     "multi": "line1\nline2\r\n\n\tline4\x1cx", "big": 1e20, "small": 1e-7,
     "tree": {"kids": [{"kids": [{"kids": []}]}, {"kids": []}]}}


def operators():
    values = ["s", "n", "z", "f", "neg", "b", "none", "l", "d", "el", "undef", "d.nope", "(1,2)", "range(4)", "big", "'<'|e"]
    for a in values:
        for t in ["{{ %s }}", "{{ -%s }}", "{{ not %s }}", "{{ [%s] }}", "{{ %s ~ 'z' }}", "{{ {%s: 1} }}",
                  "{%% for x in %s %%}[{{ x }}]{{ loop.last }}{%% else %%}none{%% endfor %%}"]:
            yield t % a
    pairs = list(itertools.product(values, values))
    for op in ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", ">=", "in", "not in", "and", "or"]:
        for a, b in random.sample(pairs, 36):
            yield "{{ %s %s %s }}" % (a, op, b)
    yield from ["{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ -7.5 // 2 }} {{ -7.5 % 2 }}",
                "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 == true }} {{ 'a' < 'B' }} {{ (1, 2) < (1, 3) }} {{ [1] < [1, 2] }}",
                "{{ 9007199254740993 == 9007199254740992.0 }} {{ 1 / 3 }} {{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }}",
                "{{ 1 if 0 }}|{{ 1 if 0 else 2 if 0 else 3 }}|{{ not 1 == 2 }}|{{ 1 + 2 ~ 3 + 4 }}|{{ -1|abs }}|{{ 'a' 'b' }}"]


def subscripts():
    for i in ["0", "-1", "5", "-9", "'a'", "none", "1.0", "true", "0:2", "::-1", ":-1", "1:", "-2:", "5:1:-2", "::2",
              "none:2", "::0", "'a':1", "1:2,3", "1,2", "undef", "-100:100", "3:0:-1", "::100"]:
        for r in ["s", "u", "l", "(1,2,3,4)", "d", "range(10)", "undef", "none", "d.keys()", "'<b>'|e"]:
            yield "{{ (%s)[%s] }}" % (r, i)
    for r in ["s", "l", "d", "n", "f", "none", "(1,2)", "undef", "namespace(a=1)", "range"]:
        for a in ["items", "upper", "append", "get", "count", "pop", "__class__", "_x", "real", "nope", "a"]:
            yield "{{ %s.%s is defined }}" % (r, a)


def methods():
    args = ["", "' '", "'a'", "','", "none", "3", "'l',1", "'l','L'", "'l','L',1", "'','-'", "10,'*'", "('H','x')",
            "'World '", "['x','y']", "sep='l'", "maxsplit=1", "true", "undef", "1.5", "'l',-4", "' ',1"]
    for m in [m for m in dir(str) if not m.startswith("_") and m not in ("encode", "maketrans", "translate", "format_map")]:
        for r in ["s", "u", "multi", "'-42'", "'ab\\tc'", "'12'", "''"]:
            for a in random.sample(args, 4 if r in ("s", "multi") else 2) + [""]:
                yield "{{ %s.%s(%s) }}" % (r, m, a)
    for a in ["", "'a'", "'z'", "'z',1", "'z',default=1", "none", "[1]"]:
        yield "{{ d.get(%s) }}" % a
    yield from ["{{ d.items() }}{{ d.keys() }}{{ d.values() }}{{ d.copy() }}", "{{ d.fromkeys('ab', 1) }}", "{{ dict(a=1, **d) }}",
                "{{ l.index(1) }}{{ l.count(1) }}{{ l.copy() }}", "{{ (1, 2, 1).index(1, 1) }}", "{{ l.index(9) }}", "{{ l.append(1) }}",
                "{{ d.update({}) }}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{{ ','.join(ls) }}", "{{ ','.join(l) }}",
                "{{ dict([('a', 1)]) }}{{ dict({'b': 2}, c=3) }}{{ dict.fromkeys(l) }}"]


def filters():
    calls = """abs attr('upper') batch(2) batch(2,'x') capitalize center(20) count d('x') default('x',true) dictsort dictsort(true)
        dictsort(false,'value') dictsort(reverse=true) e escape filesizeformat filesizeformat(true) first float float(1.5) forceescape
        format(1) format(a=1) groupby('k') groupby('k',default='D') groupby('v') indent indent(2,true) indent('>',blank=true) int int(5)
        int(0,16) items join join('-') join(',','k') join(',',attribute='v') last length list lower map('upper') map(attribute='k')
        map(attribute='k',default='D') map(attribute='n.a') map('nope') map('default','q') max max(attribute='v') min min(attribute='v')
        reject reject('odd') rejectattr('k') rejectattr('k','equalto','x') replace('l','L') replace('l','L',1) reverse round round(1)
        round(1,'ceil') round(0,'floor') round(none) safe select select('string') select('gt',1) selectattr('k','defined')
        selectattr('v','gt',1) selectattr('k','nope') slice(2) slice(2,'x') sort sort(reverse=true) sort(attribute='k')
        sort(case_sensitive=true) sort(attribute='v,k') string sum sum(attribute='v') sum(start=10) title tojson tojson(indent=2)
        tojson(sort_keys=true) tojson(separators=(',',':')) tojson(ensure_ascii=true) trim trim('Hd') truncate(6) truncate(6,true,'!',0)
        unique unique(attribute='k') upper urlencode wordcount xmlattr nope length(1) trim(x=1)""".split()
    for f in calls:
        for r in ["s", "u", "n", "f", "none", "l", "ls", "d", "dd", "nest", "undef", "el", "multi", "'42.7'", "m|map('length')"]:
            lazy = f.split("(")[0] in ("map", "select", "reject", "selectattr", "rejectattr", "unique", "batch", "slice", "items", "reverse")
            yield "{{ %s|%s%s }}" % (r, f, "|list" if lazy else "")
    yield from ["{{ 2.675|round(2) }} {{ 0.5|round }} {{ 1.5|round }} {{ 2.5|round }} {{ -0.4|round }} {{ 5|round(1) }}",
                "{{ -0.5|round(0,'ceil') }} {{ -0.05|round(1,'ceil') }} {{ -0.0|round(0,'floor') }}",
                "{{ '0x1f'|int(0,16) }} {{ ' 12 '|int }} {{ '1_000'|int }} {{ '1e3'|int }} {{ 'inf'|int(3) }} {{ 'x'|int('d') }}",
                "{{ {1: 2, none: 3, true: 4, 2.5: 'é😀\\x7f\\x01<\\\\'}|tojson }}{{ [[], {}, (1,), 1e20, 1.0]|tojson(indent=1) }}",
                "{% if l|map('upper') %}a generator is true{% endif %}", "{{ el|first is defined }}", "{{ ('<'|e) ~ '<' }}{{ ('<'|e) + '<' }}",
                "{% set g = l|map('string') %}{{ g|list }}{{ g|list }}", "{{ l|map('nope') is defined }}", "{{ (l|select)|length }}",
                "{{ undef|upper }}|{{ undef|trim }}|{{ undef|list }}|{{ undef|join }}|{{ undef|length }}|{{ undef|sum }}|{{ undef|last }}"]


def tests():
    names = """boolean callable defined divisibleby(2) even false filter float in(l) integer iterable lower mapping none number odd
        sequence string test true undefined upper eq(7) equalto('a') ne(7) lt(3) gt(3) ge(7) le(7) lessthan(9) greaterthan(9) nope""".split()
    for t in names:
        for r in ["s", "n", "z", "f", "b", "none", "l", "d", "undef", "range", "1.0", "'odd'", "'A'"]:
            yield "{{ %s is %s }}" % (r, t)
    yield from ["{{ n is not odd }} {{ n is divisibleby 7 and b }} {{ none is sameas none }} {{ b is sameas true }} {{ l is sameas l }}",
                "{{ 'x' is in 'xy' }} {{ n is defined if b }}", "{{ n is odd is even }}", "{{ 'x' if nope is defined else 'y' }}"]


def formats():
    yield from ["{{ '%s %r %5d|%-5d|%05d|%+d|% d' % (s, s, n, n, n, n, n) }}", "{{ '%.3s|%5.1f|%e|%g|%G' % (s, f, f, f, big) }}",
                "{{ '%(b)s %(a)03d%%' % d }}", "{{ '%x %X %#x %o %c %c' % (255, 255, 255, 8, 65, 'é') }}", "{{ '%d' % 'a' }}", "{{ '%s' % (1, 2) }}",
                "{{ '%s %s' % 1 }}", "{{ '%s' % l }}", "{{ '%s' % undef }}", "{{ '%q' % 1 }}", "{{ '%5%' % 1 }}", "{{ '%*d' % (5, 1) }}",
                "{{ '{} {}'.format(s, n) }}", "{{ '{1} {0} {a}'.format(1, 2, a=3) }}", "{{ '{0} {}'.format(1, 2) }}", "{{ '{:>8}|{:<8}|{:^8}|{:*^8}'.format('a', 1, f, b) }}",
                "{{ '{:08.3f}|{:+d}|{:,}|{:_}|{:x}|{:#b}|{:%}|{:e}'.format(f, 5, 1234567, 1234567, 255, 5, 0.25, big) }}", "{{ '{!r:>6}'.format('a') }}",
                "{{ '{0[b]} {0.a} {1[0]}'.format(d, l) }}", "{{ '{:{w}}|'.format(1, w=5) }}", "{{ '{{}}{'.format() }}", "{{ '}'.format() }}",
                "{{ '{:d}'.format('a') }}", "{{ '{:s}'.format(1) }}", "{{ '{:5}'.format(none) }}", "{{ '{:05}|{:=5}'.format('a', -3) }}", "{{ '{nope}'.format() }}"]


def literals():
    yield from [r"{{ '\n\t\\\'\x41\u00e9\U0001F600\101\q\é' }}", r"{{ 'a\
b' }}", r"{{ '\x4' }}", "{{ 1_000 }}{{ 0x1f }}{{ 0b11 }}{{ 0o17 }}{{ 1e3 }}{{ 1.5e-7 }}", "{{ 1.e3 }}", "{{ 007 }}", "{{ x.1 }}", "{{ l.1 }}",
                "{{ [1, 2,] }}{{ {'a': 1,} }}{{ (1,) }}{{ () }}", "{{ }}", "{{ 'a }}", "{{ $ }}", "{{ (1 }}", "{{ 1) }}", "{{ {'a': {'b': {}}} }}",
                "{{ true }}{{ True }}{{ none }}{{ None }}{{ false }}", "{{ \"it's\" }}{{ ['it\\'s', \"q\\\"\"] }}", "{{ ['é\\x00\\u200b\\u2028\\x7f'] }}", "{{ a b }}", "{#", "{# a", "{% raw %}", "{% raw %}{{ x }}"]


def whitespace():
    space = ["", " ", "\n", "\n  ", "  \n", "\t"]
    for _ in range(220):
        parts = ["x"]
        for opening, closing in random.choices([("if b", "endif"), ("raw", "endraw"), ("#", "#"), ("=", ""), ("set q = 1", "")], k=2):
            for t in (opening, closing):
                a, b = random.choice(["", "-", "+"]), random.choice(["", "-", "+"])
                if t == "#":
                    tag = "{#" + a + " c " + b + "#}"
                elif t == "=":
                    tag = "{{" + a + " n " + b.replace("+", "") + "}}"
                else:
                    tag = "{%" + a + " " + t + " " + b + "%}" if t else ""
                parts += [random.choice(space), tag, random.choice(space), random.choice(["x", ""])]
        yield "".join(parts)
    yield from ["a\r\nb\rc\n\n", "{% if b %}\n\n  x\n{% endif %}\n\n", " {% if b %} x {% endif %} ", "a {{ n }}\nb", "  {{ n }}  \n", "{%- set x = 1 -%}\n a"]


def programs():
    """Random statements: nested scopes, loops, macros and blocks."""
    r = random.Random(7)
    loops, macros, recursive = 0, 0, 0
    name = lambda: r.choice("abcxyz")

    def expression(depth):
        k = r.random()
        if depth == 0 or k < .5:
            some = [name(), name(), name(), "1", "'s'", "ns.v", "m|length", "none", "f(1)", "g()"]
            if loops:
                some += ["loop." + a for a in ("index", "first", "last", "length", "previtem", "nextitem is defined", "cycle('p', 'q')", "changed(x)", "revindex0", "depth")]
            if macros:
                some += ["varargs", "kwargs", "caller() if caller else 'nc'"]
            if recursive:
                some += ["loop(tree.kids) if loop.depth < 3 else ''"]
            return r.choice(some)
        a, b, c = (expression(depth - 1) for _ in range(3))
        return r.choice(["(%s ~ %s)" % (a, b), "(%s if %s else %s)" % (a, b, c), "(%s if %s)" % (a, b), "(%s or %s)" % (a, b),
                         "%s|default(%s)" % (name(), a), "%s is defined" % name(), "f(%s, y=%s)" % (a, b), "[%s, %s]" % (a, b)])

    def statement(depth):
        nonlocal loops, macros, recursive
        k = r.random()
        if depth == 0 or k < .25:
            return "{{ %s }}" % expression(1)
        if k < .42:
            return "{%% set %s = %s %%}" % (r.choice([name(), name(), "ns.v"]), expression(1))
        if k < .56:
            return "{%% if %s %%}%s{%% else %%}%s{%% endif %%}" % (expression(1), body(depth), body(depth))
        if k < .76:
            again = r.random() < .15
            head = "for %s in %s%s%s" % (name(), r.choice(["m", "[1, 2]", "range(2)", "[]", "'ab'", "tree.kids"]), r.choice(["", "", " if " + expression(0)]), " recursive" if again else "")
            loops, recursive = loops + 1, recursive + again
            s = "{%% %s %%}%s%s" % (head, body(depth), r.choice(["", "", "", "{% break %}", "{% continue %}", "{% if x %}{% break %}{% endif %}"]))
            loops, recursive = loops - 1, recursive - again
            return s + r.choice(["", "{% else %}" + body(depth)]) + "{% endfor %}"
        if k < .84:
            macros += 1
            saved, loops_outside = loops, loops
            loops = 0
            s = "{%% macro %s(%s) %%}%s{%% endmacro %%}" % (r.choice("fg"), r.choice(["", "x", "x, y=1", "x, y=x", "a='A'", "x, caller=none"]), body(depth))
            loops, macros = saved, macros - 1
            return s
        if k < .88:
            return "{%% call%s %s(%s) %%}%s{%% endcall %%}" % (r.choice(["", "(x)", "(x, y=2)"]), r.choice("fg"), r.choice(["", "1", "1, 2", "x=3"]), body(depth))
        return r.choice(["{%% with x=1, y=x %%}%s{%% endwith %%}", "{%% set x %%}%s{%% endset %%}", "{%% set y | upper %%}%s{%% endset %%}",
                         "{%% filter upper %%}%s{%% endfilter %%}", "{%% generation %%}%s{%% endgeneration %%}"]) % body(depth)

    def body(depth):
        return "".join(r.choice(["", "", ".", "\n"]) + statement(depth - 1) for _ in range(r.randint(1, 3)))

    prelude = "{% set ns = namespace(v=0) %}{% macro f(x, y=2) %}<{{ x }}{{ y }}{{ caller() if caller }}>{% endmacro %}{% macro g() %}G{{ a }}{{ x }}{{ caller() if caller }}{% endmacro %}"
    found = 0
    while found < 260:
        t = prelude + body(3) + body(3)
        if len(t) < 600 and ("text" in render(t) or r.random() < .03):
            found += 1
            yield t


def statements():
    yield from ["{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set (a, b), c = (1, 2), 3 %}{{ a }}{{ b }}{{ c }}", "{% set a, b = 1 %}", "{% set a.b = 1 %}", "{% set d.x = 1 %}",
                "{% set ns = namespace(d, x=1) %}{% set ns.y, ns.x = 2, 3 %}{{ ns }}", "{% set ns = namespace(_x=1) %}", "{% set true = 1 %}", "{% set 1 = 1 %}",
                "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for x in n %}{% endfor %}", "{% for x in undef %}{% else %}e{% endfor %}",
                "{% for loop in l %}{{ loop }}{% endfor %}", "{% for x in l %}{% set loop = 1 %}{% endfor %}", "{% for x in l %}{{ loop }}{% endfor %}", "{% break %}",
                "{% for x in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% for x in l %}{% set y %}{% break %}{% endset %}{% endfor %}{{ y is defined }}",
                "{% macro f(a, b=1, *c) %}{% endmacro %}", "{% macro f(a=1, b) %}{% endmacro %}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}",
                "{% macro f(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}{{ f(*l, **d) }}", "{% macro f() %}{{ caller(1) }}{% endmacro %}{% call(x) f() %}[{{ x }}]{% endcall %}",
                "{{ f }}{% macro f() %}{% endmacro %}{{ f }}{{ f.name }}{{ f.arguments }}", "{% macro f() %}{{ n }}{{ m2 }}{% endmacro %}{% set m2 = 1 %}{{ f() }}", "{% call f() %}{% endcall %}",
                "{% print 1, 2 %}", "{% print %}", "{% do x %}", "{% if %}{% endif %}", "{% if b %}", "{% endif %}", "{% else %}", "{% elif %}", "{% nope %}", "{% for x in l %}{% endif %}",
                "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}", "{% set j = joiner() %}{{ j() }}a{{ j() }}b", "{{ range(3) }}{{ range(1, 9, 3)|list }}{{ range(3, 0, -1)|list }}",
                "{{ range('a') }}", "{{ raise_exception('no') }}", "{% if n|nope %}{% endif %}", "{% if false %}{{ n|nope }}{% endif %}", "{% if false %}{% for x in l %}{{ n|nope }}{% endfor %}{% endif %}",
                "{{ n|nope if false }}", "{% filter nope %}{% endfilter %}", "{% filter length %}a{% endfilter %}", "{% set x | replace('a', q) %}a{% endset %}", "{% generation x %}{% endgeneration %}",
                "a{% generation %}b{% generation %}c{% endgeneration %}{% endgeneration %}d", "{% generation %}{% endgeneration %}x", "{% for x in l if x > 1 %}{{ loop.length }}{{ loop.index }}{{ x }}{% endfor %}",
                "{% with %}{% set x = 1 %}{% endwith %}{{ x is defined }}", "{% with a=1, b=a %}{{ b is defined }}{% endwith %}", "{% for k in tree.kids recursive %}{{ loop.depth }}{{ loop(k.kids) }}{% endfor %}",
                "{% for x in l %}{{ loop(l) }}{% endfor %}", "{{ s.nope.x }}", "{{ undef.x }}", "{{ undef() }}", "{{ n() }}", "{{ f(a=1, a=2) }}", "{{ f(*l, 1) }}", "{{ f(a=1, 1) }}"]


def render(template):
    blocks, spans = [], []
    try:
        compiled = _compile_jinja_template(template)
        with compiled.environment.activate_tracker(blocks, spans):
            for block in compiled.generate(**copy.deepcopy(V)):
                blocks.append(block)
        text = "".join(blocks)
        if " at 0x" in text:
            return {"error": "address"}
        return {"text": text, "spans": [list(s) for s in spans]} if spans else {"text": text}
    except Exception as e:
        return {"error": type(e).__name__}


random.seed(1)
print(json.dumps({"variables": V}, ensure_ascii=False))
for group in (operators, subscripts, methods, filters, tests, formats, literals, whitespace, statements, programs):
    for template in dict.fromkeys(group()):
        result = render(template)
        if "error" in result and group in (operators, methods, filters) and random.random() < .75:
            continue  # there are many
        print(json.dumps({"group": group.__name__, "template": template, **result}, ensure_ascii=False))
