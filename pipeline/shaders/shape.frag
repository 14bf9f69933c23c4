#version 330 core
// Light that shows form, at little cost: two lamps that move with the camera, a sky, a small highlight.
// Light is summed as it is and shown by a square root, which is close enough to sRGB; colours stay sRGB throughout.

in vec3 seen;
in vec3 toward;
// Names in capitals tell a variant apart. What a part does not have costs no time for its pixels.
#ifdef TEXTURE
in vec2 uv;
#endif
in vec4 color;

uniform sampler2D image;
uniform vec4 base;
uniform vec3 emissive;
uniform float metallic;
uniform float gloss;
uniform vec2 keep;  // fragments of an alpha outside [x, y) are not drawn
uniform vec3 up;    // of the world, as the camera sees it
uniform vec3 number;  // of the part, as a colour

out vec4 result;

const vec3 KEY = vec3(0.55, 0.60, 0.58);
const vec3 FILL = vec3(-0.70, 0.10, 0.70);
const vec3 HALFWAY = vec3(0.31, 0.34, 0.89);

void main() {
#ifdef SPLAT
    vec2 off = vec2(2.0, -2.0) * gl_PointCoord + vec2(-1.0, 1.0);
    if (dot(off, off) > 1.0) discard;
    vec3 n = toward.z < 0.0 ? -toward : toward;
    n = normalize(n + vec3(0.5 * off, 0.0));
#else
    // Both faces are lit alike. Which side is seen comes from the triangle itself: winding and normals may lie.
    vec3 n = cross(dFdx(seen), dFdy(seen));
#ifdef SMOOTH
    n = dot(toward, n) < 0.0 ? -toward : toward;
#endif
    n *= inversesqrt(max(dot(n, n), 1e-30));
#endif

    vec4 own = base * color;
#ifdef TEXTURE
    vec4 texel = texture(image, uv);
#ifdef PREMULTIPLIED
    texel.rgb /= max(texel.a, 1e-6);
#endif
    own *= texel;
#endif
#ifdef ALPHA
    if (own.a < keep.x || own.a >= keep.y) discard;
#else
    own.a = 1.0;
#endif

    float light = 0.27 + 0.10 * dot(n, up) + 0.60 * max(dot(n, KEY), 0.0) + 0.19 * max(dot(n, FILL), 0.0);
#ifdef EMISSIVE
    own.rgb = min(own.rgb + emissive, 1.0);  // what glows is lit too: added to the light it would be white on white
#endif
    vec3 shown = own.rgb * sqrt(light);
#ifdef SHINY
    float shine = max(dot(n, HALFWAY), 0.0);
    shine *= shine;
    shine *= shine;
    shine *= shine;
    shine *= shine;
    shown = shown * (1.0 - 0.25 * metallic) + mix(vec3(1.0), own.rgb, metallic) * (gloss * shine);
#endif
#ifdef NUMBER
    result = vec4(number, 1.0);
#else
    result = vec4(shown, own.a);
#endif
}
