//! Arithmetic of shapes and strides, as NumPy does it.

#![forbid(unsafe_code)]

/// Strides of a new array whose axes, from the innermost outwards, are `axes`.
fn packed(shape: &[isize], itemsize: isize, axes: impl Iterator<Item = usize>) -> Vec<isize> {
    let mut strides = vec![0; shape.len()];
    let mut step = itemsize;
    for axis in axes {
        strides[axis] = step;
        if shape[axis] != 0 {
            step = step.saturating_mul(shape[axis]);
        }
    }
    strides
}

/// Strides with the last axis innermost.
pub fn c_strides(shape: &[isize], itemsize: isize) -> Vec<isize> {
    packed(shape, itemsize, (0..shape.len()).rev())
}

/// Strides with the first axis innermost.
pub fn f_strides(shape: &[isize], itemsize: isize) -> Vec<isize> {
    packed(shape, itemsize, 0..shape.len())
}

/// Strides that keep the order of the operands (order "K"): the axes are sorted by the operands'
/// strides, and where these disagree or say nothing, C order stands. `operands` holds for each
/// operand its stride along every axis, 0 where it is broadcast.
pub fn kept_strides(shape: &[isize], operands: &[Vec<isize>], itemsize: isize) -> Vec<isize> {
    packed(shape, itemsize, kept_axes(shape.len(), operands).into_iter())
}

/// The axes in that order, from the innermost outwards.
fn kept_axes(ndim: usize, operands: &[Vec<isize>]) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..ndim).rev().collect();
    for next in 1..axes.len() {
        let mut place = next;
        for before in (0..next).rev() {
            match is_inside(axes[next], axes[before], operands) {
                Some(true) => place = before,
                Some(false) => break,
                None => {}
            }
        }
        axes[place..=next].rotate_right(1);
    }
    axes
}

/// Strides of a copy that keeps the order of its original: here the axes that lead nowhere, stride 0,
/// are the innermost.
pub fn copied_strides(shape: &[isize], original: &[isize], itemsize: isize) -> Vec<isize> {
    let mut axes: Vec<usize> = (0..shape.len()).rev().collect();
    axes.sort_by_key(|&axis| original[axis].abs());
    packed(shape, itemsize, axes.into_iter())
}

/// Whether `axis` runs inside `other`: every operand that has a stride along both says so.
fn is_inside(axis: usize, other: usize, operands: &[Vec<isize>]) -> Option<bool> {
    let mut votes = operands.iter().filter(|s| s[axis] != 0 && s[other] != 0).peekable();
    votes.peek()?;
    Some(votes.all(|s| s[axis].abs() < s[other].abs()))
}

/// Strides of one operand along the axes of the broadcast shape.
pub fn broadcast_strides(ndim: usize, shape: &[isize], strides: &[isize]) -> Vec<isize> {
    let missing = ndim.saturating_sub(shape.len());
    let own = shape.iter().zip(strides).map(|(&n, &step)| if n == 1 { 0 } else { step });
    std::iter::repeat_n(0, missing).chain(own).collect()
}

/// The shape to which all of `shapes` broadcast.
pub fn broadcast_shape<'a>(shapes: impl Iterator<Item = &'a [isize]>) -> Option<Vec<isize>> {
    let mut result: Vec<isize> = Vec::new();
    for shape in shapes {
        let missing = shape.len().saturating_sub(result.len());
        result.splice(0..0, std::iter::repeat_n(1, missing));
        let first = result.len() - shape.len();
        for (mine, &theirs) in result[first..].iter_mut().zip(shape) {
            match (*mine, theirs) {
                (_, 1) => {}
                (1, _) => *mine = theirs,
                (m, t) if m == t => {}
                _ => return None,
            }
        }
    }
    Some(result)
}

/// The shape of a matrix product.
pub fn matmul_shape(left: &[isize], right: &[isize]) -> Option<Vec<isize>> {
    let (l, r) = (left.len(), right.len());
    let rows = &left[l.saturating_sub(2)..l.checked_sub(1)?];
    let columns = if r >= 2 { &right[r - 1..] } else { &[] };
    let inner = if r >= 2 { right[r - 2] } else { *right.first()? };
    if left[l - 1] != inner {
        return None;
    }
    let loops = [&left[..l.saturating_sub(2)], &right[..r.saturating_sub(2)]];
    let mut shape = broadcast_shape(loops.into_iter())?;
    shape.extend_from_slice(rows);
    shape.extend_from_slice(columns);
    Some(shape)
}

/// Lowest and highest byte that the elements occupy, relative to the first one: `low..high`.
pub fn extent(shape: &[isize], strides: &[isize], itemsize: isize) -> (isize, isize) {
    if shape.contains(&0) {
        return (0, 0);
    }
    let reach = shape.iter().zip(strides).map(|(&n, &step)| (n - 1).saturating_mul(step));
    let (mut low, mut high) = (0, itemsize);
    for far in reach {
        low = isize::saturating_add(low, far.min(0));
        high = isize::saturating_add(high, far.max(0));
    }
    (low, high)
}

/// Bytes of an array, reckoned as NumPy does: an axis of length 0 hides no overflow.
pub fn byte_size(shape: &[isize], itemsize: isize) -> Option<usize> {
    let mut bytes = itemsize;
    for &n in shape.iter().filter(|&&n| n != 0) {
        bytes = bytes.checked_mul(n)?;
    }
    if shape.contains(&0) { Some(0) } else { usize::try_from(bytes).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_order_follows_the_operands() {
        let f = vec![vec![8, 24]];
        assert_eq!(kept_strides(&[3, 4], &f, 8), f_strides(&[3, 4], 8));
        let both = vec![vec![8, 24], vec![32, 8]];
        assert_eq!(kept_strides(&[3, 4], &both, 8), c_strides(&[3, 4], 8));
        let silent = vec![vec![0, 8]];
        assert_eq!(kept_strides(&[3, 4], &silent, 8), c_strides(&[3, 4], 8));
        let turned = vec![vec![4, 96, 12]];
        assert_eq!(kept_strides(&[3, 2, 8], &turned, 4), [4, 96, 12]);
    }

    #[test]
    fn a_copy_keeps_the_order_of_its_original() {
        assert_eq!(copied_strides(&[3, 4], &[8, 24], 4), f_strides(&[3, 4], 4));
        assert_eq!(copied_strides(&[3, 4], &[-64, 16], 8), c_strides(&[3, 4], 8));
        assert_eq!(copied_strides(&[3, 2, 3], &[-16, 0, -96], 8), [16, 8, 48]);
        assert_eq!(copied_strides(&[2, 3], &[0, 0], 8), c_strides(&[2, 3], 8));
    }

    #[test]
    fn shapes_broadcast_or_refuse() {
        let shapes: [&[isize]; 3] = [&[3, 1], &[4], &[1, 1, 1]];
        assert_eq!(broadcast_shape(shapes.into_iter()), Some(vec![1, 3, 4]));
        let shapes: [&[isize]; 2] = [&[3], &[4]];
        assert_eq!(broadcast_shape(shapes.into_iter()), None);
        let shapes: [&[isize]; 2] = [&[0], &[1]];
        assert_eq!(broadcast_shape(shapes.into_iter()), Some(vec![0]));
    }

    #[test]
    fn products_have_numpys_shapes() {
        assert_eq!(matmul_shape(&[2, 3], &[3, 4]), Some(vec![2, 4]));
        assert_eq!(matmul_shape(&[3], &[3, 4]), Some(vec![4]));
        assert_eq!(matmul_shape(&[2, 3], &[3]), Some(vec![2]));
        assert_eq!(matmul_shape(&[3], &[3]), Some(vec![]));
        assert_eq!(matmul_shape(&[5, 1, 2, 3], &[6, 3, 4]), Some(vec![5, 6, 2, 4]));
        assert_eq!(matmul_shape(&[2, 3], &[4, 3]), None);
        assert_eq!(matmul_shape(&[], &[3]), None);
        assert_eq!(matmul_shape(&[3], &[]), None);
    }

    #[test]
    fn extents_reach_both_ways() {
        assert_eq!(extent(&[3, 4], &[32, 8], 8), (0, 96));
        assert_eq!(extent(&[3], &[-8], 8), (-16, 8));
        assert_eq!(extent(&[0, 4], &[32, 8], 8), (0, 0));
    }

    #[test]
    fn sizes_overflow_as_in_numpy() {
        assert_eq!(byte_size(&[3, 4], 8), Some(96));
        assert_eq!(byte_size(&[0, 4], 8), Some(0));
        assert_eq!(byte_size(&[0, isize::MAX, 2], 8), None);
    }
}
