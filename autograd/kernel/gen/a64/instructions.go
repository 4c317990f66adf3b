package a64

import (
	"fmt"
	"strings"
)

// Label and the jumps to one.
func (f *Func) Label(l string) { f.emit(inst{label: l}) }
func (f *Func) B(l string)     { f.emit(inst{plan9: "B " + l, gnu: "b " + l, goal: l}) }
func (f *Func) Bcond(cond, l string) {
	f.emit(inst{plan9: "B" + cond + " " + l, gnu: "b." + strings.ToLower(cond) + " " + l, goal: l})
}
func (f *Func) CBZ(x X, l string) {
	f.emit(inst{plan9: "CBZ R%0, " + l, gnu: "cbz x%0, " + l, goal: l, regs: []operand{use(x.reg, 0)}})
}
func (f *Func) CBNZ(x X, l string) {
	f.emit(inst{plan9: "CBNZ R%0, " + l, gnu: "cbnz x%0, " + l, goal: l, regs: []operand{use(x.reg, 0)}})
}
func (f *Func) RET() { f.emit(inst{plan9: "RET", gnu: "ret"}) }

// General registers: d = a op b, or an immediate.
func (f *Func) MOV(d, a X) { f.plan9("MOVD R%1, R%0", "mov x%0, x%1", def(d.reg, 0), use(a.reg, 0)) }
func (f *Func) MOVI(d X, n int) {
	f.plan9(fmt.Sprintf("MOVD $%d, R%%0", n), fmt.Sprintf("mov x%%0, #%d", n), def(d.reg, 0))
}
func (f *Func) ADD(d, a, b X) {
	f.plan9("ADD R%2, R%1, R%0", "add x%0, x%1, x%2", def(d.reg, 0), use(a.reg, 0), use(b.reg, 0))
}
func (f *Func) SUB(d, a, b X) {
	f.plan9("SUB R%2, R%1, R%0", "sub x%0, x%1, x%2", def(d.reg, 0), use(a.reg, 0), use(b.reg, 0))
}
func (f *Func) ADDI(d, a X, n int) {
	f.plan9(fmt.Sprintf("ADD $%d, R%%1, R%%0", n), fmt.Sprintf("add x%%0, x%%1, #%d", n), def(d.reg, 0), use(a.reg, 0))
}
func (f *Func) SUBI(d, a X, n int) {
	f.plan9(fmt.Sprintf("SUB $%d, R%%1, R%%0", n), fmt.Sprintf("sub x%%0, x%%1, #%d", n), def(d.reg, 0), use(a.reg, 0))
}
func (f *Func) LSLI(d, a X, n int) {
	f.plan9(fmt.Sprintf("LSL $%d, R%%1, R%%0", n), fmt.Sprintf("lsl x%%0, x%%1, #%d", n), def(d.reg, 0), use(a.reg, 0))
}
func (f *Func) LSRI(d, a X, n int) {
	f.plan9(fmt.Sprintf("LSR $%d, R%%1, R%%0", n), fmt.Sprintf("lsr x%%0, x%%1, #%d", n), def(d.reg, 0), use(a.reg, 0))
}
func (f *Func) CMPI(a X, n int) {
	f.plan9(fmt.Sprintf("CMP $%d, R%%0", n), fmt.Sprintf("cmp x%%0, #%d", n), use(a.reg, 0))
}
func (f *Func) LDX(d, base X, off int) {
	f.plan9(fmt.Sprintf("MOVD %d(R%%1), R%%0", off), fmt.Sprintf("ldr x%%0, [x%%1, #%d]", off), def(d.reg, 0), use(base.reg, 0))
}
func (f *Func) Yield() { f.plan9("YIELD", "yield") }

// Prefetch hints: which cache a line is fetched into, and whether it will be read or written.
const (
	L2Keep  = 2
	L1Write = 16
)

// PRFM prefetches the line at base + off.
func (f *Func) PRFM(hint int, base X, off int) {
	name := map[int]string{L2Keep: "pldl2keep", L1Write: "pstl1keep"}[hint]
	f.op(0xF9800000|uint32(off/8)<<10|uint32(hint), fmt.Sprintf("prfm %s, [x%%0, #%d]", name, off), use(base.reg, 5))
}

// Loads and stores of 16 bytes: at [base + off], where off is a multiple of 16, or at [base], after which base advances by n.
func (f *Func) LD(d V, base X, off int) {
	f.op(0x3DC00000|imm12(off, 16), fmt.Sprintf("ldr q%%0, [x%%1, #%d]", off), def(d.reg, 0), use(base.reg, 5))
}
func (f *Func) ST(s V, base X, off int) {
	f.op(0x3D800000|imm12(off, 16), fmt.Sprintf("str q%%0, [x%%1, #%d]", off), use(s.reg, 0), use(base.reg, 5))
}
func (f *Func) LDP(d, e V, base X, off int) {
	f.op(0xAD400000|imm7(off), fmt.Sprintf("ldp q%%0, q%%1, [x%%2, #%d]", off), def(d.reg, 0), def(e.reg, 10), use(base.reg, 5))
}
func (f *Func) STP(d, e V, base X, off int) {
	f.op(0xAD000000|imm7(off), fmt.Sprintf("stp q%%0, q%%1, [x%%2, #%d]", off), use(d.reg, 0), use(e.reg, 10), use(base.reg, 5))
}
func (f *Func) LDPpost(d, e V, base X, n int) {
	f.op(0xACC00000|imm7(n), fmt.Sprintf("ldp q%%0, q%%1, [x%%2], #%d", n), def(d.reg, 0), def(e.reg, 10), mod(base.reg, 5))
}
func (f *Func) LDpost(d V, base X, n int) {
	f.op(0x3CC00400|uint32(n&0x1ff)<<12, fmt.Sprintf("ldr q%%0, [x%%1], #%d", n), def(d.reg, 0), mod(base.reg, 5))
}
func (f *Func) STpost(s V, base X, n int) {
	f.op(0x3C800400|uint32(n&0x1ff)<<12, fmt.Sprintf("str q%%0, [x%%1], #%d", n), use(s.reg, 0), mod(base.reg, 5))
}

// STpostX stores 16 bytes at [base], after which base advances by n.
func (f *Func) STpostX(s V, base, n X) {
	f.op(0x4C807800, "st1 {v%0.4s}, [x%1], x%2", use(s.reg, 0), mod(base.reg, 5), use(n.reg, 16))
}

// LDS, LDD and STS, STD move the lower one or two float32.
func (f *Func) LDS(d V, base X, off int) {
	f.op(0xBD400000|imm12(off, 4), fmt.Sprintf("ldr s%%0, [x%%1, #%d]", off), def(d.reg, 0), use(base.reg, 5))
}
func (f *Func) STS(s V, base X, off int) {
	f.op(0xBD000000|imm12(off, 4), fmt.Sprintf("str s%%0, [x%%1, #%d]", off), use(s.reg, 0), use(base.reg, 5))
}

// STlane stores one lane.
func (f *Func) STlane(s V, lane int, base X) {
	f.op(0x0D008000|uint32(lane>>1)<<30|uint32(lane&1)<<12, fmt.Sprintf("st1 {v%%0.s}[%d], [x%%1]", lane), use(s.reg, 0), use(base.reg, 5))
}
func (f *Func) LDD(d V, base X, off int) {
	f.op(0xFD400000|imm12(off, 8), fmt.Sprintf("ldr d%%0, [x%%1, #%d]", off), def(d.reg, 0), use(base.reg, 5))
}
func (f *Func) STD(s V, base X, off int) {
	f.op(0xFD000000|imm12(off, 8), fmt.Sprintf("str d%%0, [x%%1, #%d]", off), use(s.reg, 0), use(base.reg, 5))
}

// LD1R loads one float32 into all lanes.
func (f *Func) LD1R(d V, base X) {
	f.op(0x4D40C800, "ld1r {v%0.4s}, [x%1]", def(d.reg, 0), use(base.reg, 5))
}

func imm12(off, scale int) uint32 {
	if off < 0 || off%scale != 0 || off/scale > 4095 {
		panic(fmt.Sprintf("offset %d does not fit", off))
	}
	return uint32(off/scale) << 10
}

// imm7 encodes the offset of a load or store of a pair.
func imm7(off int) uint32 {
	if off%16 != 0 || off < -1024 || off > 1008 {
		panic(fmt.Sprintf("offset %d does not fit", off))
	}
	return uint32(off/16&0x7f) << 15
}

// op2 and op3 are the shapes of most vector instructions.
func (f *Func) op2(word uint32, name, form string, d, a V) {
	f.op(word, name+" "+strings.ReplaceAll("v%0.T, v%1.T", "T", form), def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) op3(word uint32, name, form string, d, a, b V) {
	f.op(word, name+" "+strings.ReplaceAll("v%0.T, v%1.T, v%2.T", "T", form), def(d.reg, 0), use(a.reg, 5), use(b.reg, 16))
}
func (f *Func) acc3(word uint32, name, form string, d, a, b V) {
	f.op(word, name+" "+strings.ReplaceAll("v%0.T, v%1.T, v%2.T", "T", form), mod(d.reg, 0), use(a.reg, 5), use(b.reg, 16))
}

// d = a op b.
func (f *Func) FADD(d, a, b V)  { f.op3(0x4E20D400, "fadd", "4s", d, a, b) }
func (f *Func) FSUB(d, a, b V)  { f.op3(0x4EA0D400, "fsub", "4s", d, a, b) }
func (f *Func) FMUL(d, a, b V)  { f.op3(0x6E20DC00, "fmul", "4s", d, a, b) }
func (f *Func) FDIV(d, a, b V)  { f.op3(0x6E20FC00, "fdiv", "4s", d, a, b) }
func (f *Func) FMAX(d, a, b V)  { f.op3(0x4E20F400, "fmax", "4s", d, a, b) }
func (f *Func) FMIN(d, a, b V)  { f.op3(0x4EA0F400, "fmin", "4s", d, a, b) }
func (f *Func) FADDP(d, a, b V) { f.op3(0x6E20D400, "faddp", "4s", d, a, b) }
func (f *Func) ADDI4(d, a, b V) { f.op3(0x4EA08400, "add", "4s", d, a, b) }
func (f *Func) SUBI4(d, a, b V) { f.op3(0x6EA08400, "sub", "4s", d, a, b) }
func (f *Func) AND(d, a, b V)   { f.op3(0x4E201C00, "and", "16b", d, a, b) }
func (f *Func) ORR(d, a, b V)   { f.op3(0x4EA01C00, "orr", "16b", d, a, b) }
func (f *Func) TRN1(d, a, b V)  { f.op3(0x4E802800, "trn1", "4s", d, a, b) }
func (f *Func) TRN2(d, a, b V)  { f.op3(0x4E806800, "trn2", "4s", d, a, b) }
func (f *Func) ZIP1(d, a, b V)  { f.op3(0x4E803800, "zip1", "4s", d, a, b) }
func (f *Func) ZIP2(d, a, b V)  { f.op3(0x4E807800, "zip2", "4s", d, a, b) }
func (f *Func) ZIP1D(d, a, b V) { f.op3(0x4EC03800, "zip1", "2d", d, a, b) }
func (f *Func) ZIP2D(d, a, b V) { f.op3(0x4EC07800, "zip2", "2d", d, a, b) }
func (f *Func) ZIP1H(d, a, b V) { f.op3(0x4E403800, "zip1", "8h", d, a, b) }
func (f *Func) ZIP2H(d, a, b V) { f.op3(0x4E407800, "zip2", "8h", d, a, b) }

// BSL takes the bits of a where d's are set, and of b elsewhere. BIT replaces d's bits with a's where b's are set.
func (f *Func) BSL(d, a, b V) { f.acc3(0x6E601C00, "bsl", "16b", d, a, b) }
func (f *Func) BIT(d, a, b V) { f.acc3(0x6EA01C00, "bit", "16b", d, a, b) }

// d += a·b, d −= a·b; by element b[lane].
func (f *Func) FMLA(d, a, b V) { f.acc3(0x4E20CC00, "fmla", "4s", d, a, b) }
func (f *Func) FMLS(d, a, b V) { f.acc3(0x4EA0CC00, "fmls", "4s", d, a, b) }
func (f *Func) FMLAe(d, a, b V, lane int) {
	f.op(0x4F801000|element(lane), fmt.Sprintf("fmla v%%0.4s, v%%1.4s, v%%2.s[%d]", lane), mod(d.reg, 0), use(a.reg, 5), use(b.reg, 16))
}
func (f *Func) FMLSe(d, a, b V, lane int) {
	f.op(0x4F805000|element(lane), fmt.Sprintf("fmls v%%0.4s, v%%1.4s, v%%2.s[%d]", lane), mod(d.reg, 0), use(a.reg, 5), use(b.reg, 16))
}
func (f *Func) FMULe(d, a, b V, lane int) {
	f.op(0x4F809000|element(lane), fmt.Sprintf("fmul v%%0.4s, v%%1.4s, v%%2.s[%d]", lane), def(d.reg, 0), use(a.reg, 5), use(b.reg, 16))
}
func element(lane int) uint32 { return uint32(lane&1)<<21 | uint32(lane>>1)<<11 }

// FEAT_BF16: d (2 × 2) += a (2 × 4)·b (2 × 4)ᵀ, which is BFDOT of the first pairs of a row and then of the second ones; d += a's pairs ·
// b's; d += a's pairs · the pair b[lane]; two vectors to bfloat16.
func (f *Func) BFMMLA(d, a, b V) {
	f.op(0x6E40EC00, "bfmmla v%0.4s, v%1.8h, v%2.8h", mod(d.reg, 0), use(a.reg, 5), use(b.reg, 16))
}
func (f *Func) BFDOT(d, a, b V) {
	f.op(0x6E40FC00, "bfdot v%0.4s, v%1.8h, v%2.8h", mod(d.reg, 0), use(a.reg, 5), use(b.reg, 16))
}
func (f *Func) BFDOTe(d, a, b V, lane int) {
	f.op(0x4F40F000|element(lane), fmt.Sprintf("bfdot v%%0.4s, v%%1.8h, v%%2.2h[%d]", lane), mod(d.reg, 0), use(a.reg, 5), use(b.reg, 16))
}
func (f *Func) BFCVTN(d, a V) {
	f.op(0x0EA16800, "bfcvtn v%0.4h, v%1.4s", def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) BFCVTN2(d, a V) {
	f.op(0x4EA16800, "bfcvtn2 v%0.8h, v%1.4s", mod(d.reg, 0), use(a.reg, 5))
}

// One operand.
func (f *Func) MOVV(d, a V) {
	f.op(0x4EA01C00, "mov v%0.16b, v%1.16b", def(d.reg, 0), use(a.reg, 5), operand{a.reg, 16, false, true})
}
func (f *Func) FSQRT(d, a V)  { f.op2(0x6EA1F800, "fsqrt", "4s", d, a) }
func (f *Func) FRECPE(d, a V) { f.op2(0x4EA1D800, "frecpe", "4s", d, a) }
func (f *Func) FRECPS(d, a, b V) {
	f.op3(0x4E20FC00, "frecps", "4s", d, a, b)
}
func (f *Func) Zero(d V) { f.op(0x6F00E400, "movi v%0.2d, #0", def(d.reg, 0)) }
func (f *Func) Dup(d, a V, lane int) {
	f.op(0x4E040400|uint32(lane)<<19, fmt.Sprintf("dup v%%0.4s, v%%1.s[%d]", lane), def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) SHL(d, a V, n int) {
	f.op(0x4F005400|uint32(32+n)<<16, fmt.Sprintf("shl v%%0.4s, v%%1.4s, #%d", n), def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) SSHR(d, a V, n int) {
	f.op(0x4F000400|uint32(64-n)<<16, fmt.Sprintf("sshr v%%0.4s, v%%1.4s, #%d", n), def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) FMAXV(d, a V)  { f.op(0x6E30F800, "fmaxv s%0, v%1.4s", def(d.reg, 0), use(a.reg, 5)) }
func (f *Func) FADDPD(d, a V) { f.op(0x7E70D800, "faddp d%0, v%1.2d", def(d.reg, 0), use(a.reg, 5)) }
func (f *Func) FCVTL(d, a V)  { f.op(0x0E617800, "fcvtl v%0.2d, v%1.2s", def(d.reg, 0), use(a.reg, 5)) }
func (f *Func) FCVTL2(d, a V) {
	f.op(0x4E617800, "fcvtl2 v%0.2d, v%1.4s", def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) FMLAD(d, a, b V) { f.acc3(0x4E60CC00, "fmla", "2d", d, a, b) }
func (f *Func) FADDD(d, a, b V) { f.op3(0x4E60D400, "fadd", "2d", d, a, b) }

// SUBS and ADDS compare their result with 0.
func (f *Func) SUBS(d, a X, n int) {
	f.plan9(fmt.Sprintf("SUBS $%d, R%%1, R%%0", n), fmt.Sprintf("subs x%%0, x%%1, #%d", n), def(d.reg, 0), use(a.reg, 0))
}
func (f *Func) ADDS(d, a X, n int) {
	f.plan9(fmt.Sprintf("ADDS $%d, R%%1, R%%0", n), fmt.Sprintf("adds x%%0, x%%1, #%d", n), def(d.reg, 0), use(a.reg, 0))
}

// CMP compares a with b.
func (f *Func) CMP(a, b X) {
	f.plan9("CMP R%1, R%0", "cmp x%0, x%1", use(a.reg, 0), use(b.reg, 0))
}

// MUL is d = a·b.
func (f *Func) MUL(d, a, b X) {
	f.plan9("MUL R%2, R%1, R%0", "mul x%0, x%1, x%2", def(d.reg, 0), use(a.reg, 0), use(b.reg, 0))
}

// DupX sets all lanes to the lower half of a general register.
func (f *Func) DupX(d V, a X) { f.op(0x4E040C00, "dup v%0.4s, w%1", def(d.reg, 0), use(a.reg, 5)) }

// CMGE and CMGT set the bits of the lanes where a ≥ b, or a > b, as integers.
func (f *Func) CMGE(d, a, b V) { f.op3(0x4EA03C00, "cmge", "4s", d, a, b) }
func (f *Func) CMGT(d, a, b V) { f.op3(0x4EA03400, "cmgt", "4s", d, a, b) }

// LDU loads 16 bytes at an offset from −256 to 255.
func (f *Func) LDU(d V, base X, off int) {
	if off < -256 || off > 255 {
		panic(fmt.Sprintf("offset %d does not fit", off))
	}
	f.op(0x3CC00000|uint32(off&0x1ff)<<12, fmt.Sprintf("ldur q%%0, [x%%1, #%d]", off), def(d.reg, 0), use(base.reg, 5))
}

// LD1Rh loads one 16-bit number into all lanes.
func (f *Func) LD1Rh(d V, base X) {
	f.op(0x4D40C400, "ld1r {v%0.8h}, [x%1]", def(d.reg, 0), use(base.reg, 5))
}

// Integers of 8, 16, and 32 bits: the lower or the upper half of a vector, sign-extended; bytes looked up in a vector; bits tested.
func (f *Func) SXTL8(d, a V) {
	f.op(0x0F08A400, "sxtl v%0.8h, v%1.8b", def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) SXTL28(d, a V) {
	f.op(0x4F08A400, "sxtl2 v%0.8h, v%1.16b", def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) SXTL4(d, a V) {
	f.op(0x0F10A400, "sxtl v%0.4s, v%1.4h", def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) SXTL24(d, a V) {
	f.op(0x4F10A400, "sxtl2 v%0.4s, v%1.8h", def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) TBL(d, table, index V) {
	f.op(0x4E000000, "tbl v%0.16b, {v%1.16b}, v%2.16b", def(d.reg, 0), use(table.reg, 5), use(index.reg, 16))
}
func (f *Func) CMTST(d, a, b V) { f.op3(0x4E208C00, "cmtst", "16b", d, a, b) }
func (f *Func) SUB16(d, a, b V) { f.op3(0x6E208400, "sub", "16b", d, a, b) }
func (f *Func) USHL(d, a, b V)  { f.op3(0x6EA04400, "ushl", "4s", d, a, b) }
func (f *Func) SCVTF(d, a V)    { f.op2(0x4E21D800, "scvtf", "4s", d, a) }
func (f *Func) USHR(d, a V, n int) {
	f.op(0x6F000400|uint32(64-n)<<16, fmt.Sprintf("ushr v%%0.4s, v%%1.4s, #%d", n), def(d.reg, 0), use(a.reg, 5))
}

// FCVTLh and FCVTL2h widen the lower or the upper four half-precision numbers.
func (f *Func) FCVTLh(d, a V) {
	f.op(0x0E217800, "fcvtl v%0.4s, v%1.4h", def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) FCVTL2h(d, a V) {
	f.op(0x4E217800, "fcvtl2 v%0.4s, v%1.8h", def(d.reg, 0), use(a.reg, 5))
}

// SHLL and SHLL2 move the lower or the upper four 16-bit words to the upper halves of 32-bit ones.
func (f *Func) SHLL(d, a V) {
	f.op(0x2E613800, "shll v%0.4s, v%1.4h, #16", def(d.reg, 0), use(a.reg, 5))
}
func (f *Func) SHLL2(d, a V) {
	f.op(0x6E613800, "shll2 v%0.4s, v%1.8h, #16", def(d.reg, 0), use(a.reg, 5))
}
