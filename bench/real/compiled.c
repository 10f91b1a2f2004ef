// What the compiler is given: a file that needs no header. Many functions of several shapes, by the preprocessor.
typedef unsigned long word;
extern void use(word);

#define SHAPES(n) \
    static word fold##n(const word *list, int count) \
    { \
        word sum = n; \
        for (int i = 0; i < count; i++) { \
            switch ((list[i] + n) & 7) { \
            case 0: sum += list[i]; break; \
            case 1: sum ^= list[i] << (n & 15); break; \
            case 2: sum *= list[i] | 1; break; \
            case 3: if (sum > list[i]) sum -= list[i]; break; \
            case 4: sum = sum / (list[i] & 0xFF | 1); break; \
            default: sum = sum << 3 | sum >> 61; \
            } \
        } \
        return sum; \
    } \
    struct node##n { struct node##n *left, *right; word key; }; \
    static word depth##n(const struct node##n *node) \
    { \
        if (!node) \
            return 0; \
        word left = depth##n(node->left), right = depth##n(node->right); \
        return (left > right ? left : right) + 1; \
    } \
    void transform##n(float *restrict to, const float *restrict from, int count) \
    { \
        for (int i = 0; i < count; i++) \
            to[i] = from[i] * from[i] * (float)n + to[count - 1 - i]; \
    } \
    word enter##n(const word *list, int count, const struct node##n *tree) \
    { \
        use(fold##n(list, count)); \
        return depth##n(tree) + fold##n(list + 1, count - 1); \
    }

#define TEN(n) SHAPES(n##0) SHAPES(n##1) SHAPES(n##2) SHAPES(n##3) SHAPES(n##4) SHAPES(n##5) SHAPES(n##6) SHAPES(n##7) \
    SHAPES(n##8) SHAPES(n##9)
TEN(1) TEN(2) TEN(3) TEN(4)
