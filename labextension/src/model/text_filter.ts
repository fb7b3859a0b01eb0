/**
 * Tells texts with `wanted` in them from others, as the Python side does: case does not count, `*`
 * stands for any characters, `\\*` for a star. Whatever is typed, no search takes long.
 */
export function textFilter(wanted: string): (text: string) => boolean {
  const star = '\0';
  const parts = wanted
    .toLowerCase()
    .replaceAll('\\*', star)
    .split('*')
    .filter(Boolean)
    .map((part) => part.replaceAll(star, '*'));
  return (text) => {
    const folded = text.toLowerCase();
    let at = 0;
    for (const part of parts) {
      const start = folded.indexOf(part, at);
      if (start < 0) {
        return false;
      }
      at = start + part.length;
    }
    return true;
  };
}
