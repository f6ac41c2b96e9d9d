# page.awk makes a man page, of section 1, of what a command's --help prints: the usage line, what it does in
# paragraphs, its flags, and examples. name, version and date are given to it.

function plain(text) {
  gsub(/\\/, "\\e", text)
  gsub(/-/, "\\-", text)
  return text ~ /^[.']/ ? "\\\\&" text : text
}
function sentence(text) {
  sub(/^[^ ]+ /, "", text) # the name
  sub(/(\.|:) .*|\.$/, "", text)
  return text
}
function section(title) { print ".SH " title; in_block = 0 }
function block(on) { if (on != in_block) print on ? ".nf" : ".fi"; in_block = on }

{ line[NR] = $0 }
END {
  for (i = 3; i <= NR && line[i] != ""; i++) about = about line[i] " "
  printf ".TH %s 1 \"%s\" \"winnow %s\" \"winnow\"\n", toupper(name), date, version
  section("NAME")
  print plain(name) " \\- " plain(sentence(about))
  section("SYNOPSIS")
  usage = substr(line[1], 8)
  of = name; sub(/^winnow-/, "winnow ", of)
  sub(/^[^ ]+/, of, usage)
  print ".B " plain(usage)
  section("DESCRIPTION")
  for (i = 3; i <= NR; i++) {
    if (line[i] == "Examples:") { block(0); section("EXAMPLES"); continue }
    if (!options && line[i] ~ /^ +(-[a-z], )?--?[a-z]/) { block(0); section("OPTIONS"); options = 1 }
    if (line[i] == "") { block(0); print ".PP"; continue }
    block(line[i] ~ /^ /)
    print plain(line[i])
  }
  block(0)
  section("SEE ALSO")
  print ".BR winnow (7), .BR winnow\\-policy (5)"
}
