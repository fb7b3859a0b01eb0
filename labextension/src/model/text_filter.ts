/**
 * Returns a predicate that accepts matching texts, by the same rules as the Python side: case is
 * ignored, `*` matches any characters, `\\*` a literal asterisk. The search takes linear time.
 */
export function textFilter(pattern: string): (text: string) => boolean {
  const star = '\0';
  const words = pattern
    .toLowerCase()
    .replaceAll('\\*', star)
    .split('*')
    .filter(Boolean)
    .map((word) => word.replaceAll(star, '*'));
  return (text) => {
    const folded = text.toLowerCase();
    let end = 0;
    for (const word of words) {
      const start = folded.indexOf(word, end);
      if (start < 0) {
        return false;
      }
      end = start + word.length;
    }
    return true;
  };
}
