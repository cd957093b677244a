;; A layer of the integer twin on lists of 16-bit numbers (docs/entropy.md): y = clamp((w x + b + 2^11) >> 12).
;; Products of two 16-bit numbers are summed in pairs in 32 bits (at most 2 * 32768 * 32736 < 2^31), then in 64.
(module
  (import "env" "memory" (memory 1))
  (func (export "layer")
    (param $x i32)       ;; [n, k] 16 bits
    (param $w i32)       ;; [outputs, k] 16 bits
    (param $b i32)       ;; [outputs] 32 bits
    (param $y i32)       ;; [n, outputs] 16 bits, what comes out
    (param $n i32)
    (param $k i32)       ;; a multiple of 8
    (param $outputs i32) ;; a multiple of 4
    (param $low i32)     ;; of the clamp: 0 or -32736
    (local $row i32) (local $o i32) (local $t i32) (local $i i32)
    (local $xp i32) (local $w0 i32) (local $w1 i32) (local $w2 i32) (local $w3 i32) (local $yp i32)
    (local $xv v128) (local $d v128)
    (local $a0 v128) (local $a1 v128) (local $a2 v128) (local $a3 v128)
    (local.set $row (i32.shl (local.get $k) (i32.const 1)))
    (block $end_o (loop $next_o
      (br_if $end_o (i32.ge_u (local.get $o) (local.get $outputs)))
      (local.set $xp (local.get $x))
      (local.set $yp (i32.add (local.get $y) (i32.shl (local.get $o) (i32.const 1))))
      (local.set $t (i32.const 0))
      (block $end_t (loop $next_t
        (br_if $end_t (i32.ge_u (local.get $t) (local.get $n)))
        (local.set $w0 (i32.add (local.get $w) (i32.mul (local.get $o) (local.get $row))))
        (local.set $w1 (i32.add (local.get $w0) (local.get $row)))
        (local.set $w2 (i32.add (local.get $w1) (local.get $row)))
        (local.set $w3 (i32.add (local.get $w2) (local.get $row)))
        (local.set $a0 (v128.const i64x2 0 0))
        (local.set $a1 (v128.const i64x2 0 0))
        (local.set $a2 (v128.const i64x2 0 0))
        (local.set $a3 (v128.const i64x2 0 0))
        (local.set $i (i32.const 0))
        (block $end_i (loop $next_i
          (br_if $end_i (i32.ge_u (local.get $i) (local.get $row)))
          (local.set $xv (v128.load (i32.add (local.get $xp) (local.get $i))))
          (local.set $d (i32x4.dot_i16x8_s (local.get $xv) (v128.load (i32.add (local.get $w0) (local.get $i)))))
          (local.set $a0 (i64x2.add (local.get $a0)
            (i64x2.add (i64x2.extend_low_i32x4_s (local.get $d)) (i64x2.extend_high_i32x4_s (local.get $d)))))
          (local.set $d (i32x4.dot_i16x8_s (local.get $xv) (v128.load (i32.add (local.get $w1) (local.get $i)))))
          (local.set $a1 (i64x2.add (local.get $a1)
            (i64x2.add (i64x2.extend_low_i32x4_s (local.get $d)) (i64x2.extend_high_i32x4_s (local.get $d)))))
          (local.set $d (i32x4.dot_i16x8_s (local.get $xv) (v128.load (i32.add (local.get $w2) (local.get $i)))))
          (local.set $a2 (i64x2.add (local.get $a2)
            (i64x2.add (i64x2.extend_low_i32x4_s (local.get $d)) (i64x2.extend_high_i32x4_s (local.get $d)))))
          (local.set $d (i32x4.dot_i16x8_s (local.get $xv) (v128.load (i32.add (local.get $w3) (local.get $i)))))
          (local.set $a3 (i64x2.add (local.get $a3)
            (i64x2.add (i64x2.extend_low_i32x4_s (local.get $d)) (i64x2.extend_high_i32x4_s (local.get $d)))))
          (local.set $i (i32.add (local.get $i) (i32.const 16)))
          (br $next_i)))
        (i32.store16 (local.get $yp)
          (call $finish (local.get $a0) (local.get $b) (local.get $o) (local.get $low)))
        (i32.store16 offset=2 (local.get $yp)
          (call $finish (local.get $a1) (local.get $b) (i32.add (local.get $o) (i32.const 1)) (local.get $low)))
        (i32.store16 offset=4 (local.get $yp)
          (call $finish (local.get $a2) (local.get $b) (i32.add (local.get $o) (i32.const 2)) (local.get $low)))
        (i32.store16 offset=6 (local.get $yp)
          (call $finish (local.get $a3) (local.get $b) (i32.add (local.get $o) (i32.const 3)) (local.get $low)))
        (local.set $xp (i32.add (local.get $xp) (local.get $row)))
        (local.set $yp (i32.add (local.get $yp) (i32.shl (local.get $outputs) (i32.const 1))))
        (local.set $t (i32.add (local.get $t) (i32.const 1)))
        (br $next_t)))
      (local.set $o (i32.add (local.get $o) (i32.const 4)))
      (br $next_o))))
  ;; Sum, bias, shift with rounding, clamp.
  (func $finish (param $a v128) (param $b i32) (param $o i32) (param $low i32) (result i32)
    (local $sum i64)
    (local.set $sum
      (i64.shr_s
        (i64.add
          (i64.add (i64x2.extract_lane 0 (local.get $a)) (i64x2.extract_lane 1 (local.get $a)))
          (i64.add
            (i64.load32_s (i32.add (local.get $b) (i32.shl (local.get $o) (i32.const 2))))
            (i64.const 2048)))
        (i64.const 12)))
    (if (result i32) (i64.lt_s (local.get $sum) (i64.extend_i32_s (local.get $low)))
      (then (local.get $low))
      (else
        (if (result i32) (i64.gt_s (local.get $sum) (i64.const 32736))
          (then (i32.const 32736))
          (else (i32.wrap_i64 (local.get $sum))))))))
