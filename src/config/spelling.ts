/** Finds the name that a person meant when they misspelt one. */

/** The known name that `typed` was meant to be, or null where none is near. */
export function nearestName(typed: string, names: readonly string[]): string | null {
  const wanted = normalize(typed);
  if (wanted === "") return null;
  const begun = names.filter((name) => normalize(name).startsWith(wanted));
  if (begun.length === 1) return begun[0] ?? null;
  let nearest: string | null = null;
  let leastDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const name of names) {
    const distance = editDistance(wanted, normalize(name));
    if (distance < leastDistance) [nearest, leastDistance] = [name, distance];
  }
  return nearest;
}

function normalize(name: string): string {
  return name.toLowerCase().replaceAll(/[-_.]/g, "");
}

/** Least number of letters to add, drop, change, or swap with their neighbour (optimal string alignment). */
export function editDistance(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1];
      const isSwap = row > 1 && column > 1 && from[row - 1] === to[column - 2] &&
        from[row - 2] === to[column - 1];
      current.push(Math.min(
        at(last, column) + 1,
        at(current, column - 1) + 1,
        at(last, column - 1) + (isSame ? 0 : 1),
        isSwap ? at(beforeLast, column - 2) + 1 : Infinity,
      ));
    }
    [beforeLast, last] = [last, current];
  }
  return at(last, to.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Infinity;
}
